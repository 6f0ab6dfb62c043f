"""The views of a row per user and month: the action list, and what is known of each user who was scored."""

from churn.database.retention.declared import MONTH, UPDATED_AT, USER_ID, RetentionView, ViewColumn

_CURRENCY = "currency units"
_RANK = ViewColumn(
    "rank", "bigint", "Place in the month's order of calling, the first to be called is 1.", "place"
)
_PROBABILITY = ViewColumn(
    "probability",
    "double precision",
    "Calibrated chance of leaving in the month after.",
    "share, 0 to 1",
)
_CUSTOMER_VALUE = ViewColumn(
    "customer_value",
    "double precision",
    "What the user is worth if kept, as the contract says it; null: scored before it was kept.",
    _CURRENCY,
)
_EXPECTED_PROFIT = ViewColumn(
    "expected_profit", "double precision", "Expected profit of calling the user.", _CURRENCY
)
_TREATED_AT = ViewColumn(
    "treated_at", "date", "Day on which the user was contacted; null: not reported, or withdrawn."
)
_CHANNEL = ViewColumn("channel", "text", "By what the user was contacted, as reported.")
_OFFER = ViewColumn(
    "offer", "text", "What was offered, as reported; null: nothing, or not reported."
)
_OUTCOME = ViewColumn(
    "outcome",
    "text",
    "`accepted`, `declined` or `not reached`, as reported; null: not known, or not reported.",
)
_HAS_LEFT = ViewColumn(
    "has_left",
    "boolean",
    "The user left in the month after; null: not matured, or not among the labels.",
)
_RELEASE_ID = ViewColumn("release_id", "text", "The release that scored the user.")

ACTION_LIST = RetentionView(
    "action_list",
    "One user on one month's action list: to be called, or left alone to measure what calling does.",
    ("month", "user_id"),
    (
        MONTH,
        USER_ID,
        _RANK,
        ViewColumn(
            "band",
            "smallint",
            "Fifth of the list by rank, 1 comes first; null: not kept then.",
            "fifth",
        ),
        _PROBABILITY,
        _CUSTOMER_VALUE,
        _EXPECTED_PROFIT,
        ViewColumn(
            "treatment_group", "text", "`treated`: to be called; `control`: to be left alone."
        ),
        ViewColumn(
            "reason_1", "text", "What raises the risk most, a sentence; null: nothing does."
        ),
        ViewColumn("reason_2", "text", "What raises it next; null: nothing does."),
        ViewColumn("reason_3", "text", "What raises it third; null: nothing does."),
        _TREATED_AT,
        _CHANNEL,
        _OFFER,
        _HAS_LEFT,
        _RELEASE_ID,
        ViewColumn("list_hash", "text", "Fingerprint of the whole list, as in retention.month."),
        UPDATED_AT,
        _OUTCOME,
        ViewColumn(
            "segments",
            "jsonb",
            "The user's level of each segment, as in retention.segment_month; null: not kept then.",
        ),
    ),
    """
SELECT (date_trunc('month', s.as_of AT TIME ZONE 'UTC'))::date, a.user_id, s.rank, a.band,
    s.probability, s.customer_value, s.expected_profit, a.treatment_group,
    a.reason_1, a.reason_2, a.reason_3,
    CASE WHEN t.withdrawn_at IS NULL THEN t.treated_at END,
    CASE WHEN t.withdrawn_at IS NULL THEN t.channel END,
    CASE WHEN t.withdrawn_at IS NULL THEN t.offer END,
    (SELECT CASE WHEN NOT l.is_withdrawn THEN l.churn_label END FROM {labels} AS l
        WHERE l.as_of = a.as_of AND l.user_id = a.user_id ORDER BY l.known_at DESC LIMIT 1),
    s.release_id, i.fingerprint, greatest(r.recorded_at, i.recorded_at, t.recorded_at, b.recorded_at),
    CASE WHEN t.withdrawn_at IS NULL THEN t.outcome END, a.segments
FROM churn_scores AS s
JOIN action_list AS a ON (date_trunc('month', a.as_of AT TIME ZONE 'UTC'))::date
    = (date_trunc('month', s.as_of AT TIME ZONE 'UTC'))::date AND a.user_id = s.user_id
JOIN action_lists AS i ON i.as_of = s.as_of
LEFT JOIN churn_score_runs AS r ON r.as_of = s.as_of
LEFT JOIN treatments AS t ON (date_trunc('month', t.as_of AT TIME ZONE 'UTC'))::date
    = (date_trunc('month', s.as_of AT TIME ZONE 'UTC'))::date AND t.user_id = s.user_id
LEFT JOIN raw.snapshot_builds AS b ON b.file = 'labels' AND b.as_of = s.as_of
WHERE s.is_action""",
)

CUSTOMER_HISTORY = RetentionView(
    "customer_history",
    "One user in one month in which the user was scored.",
    ("month", "user_id"),
    (
        MONTH,
        USER_ID,
        _PROBABILITY,
        _RANK,
        ViewColumn(
            "percentile",
            "double precision",
            "How many of the month's scored users rank behind the user.",
            "per cent, 0 to 100",
        ),
        _CUSTOMER_VALUE,
        _EXPECTED_PROFIT,
        ViewColumn("is_listed", "boolean", "The user is on the month's action list."),
        ViewColumn(
            "treatment_group",
            "text",
            "`treated`: to be called; `control`: to be left alone; null: not on the list.",
        ),
        _TREATED_AT,
        _CHANNEL,
        _OFFER,
        _HAS_LEFT,
        _RELEASE_ID,
        UPDATED_AT,
        ViewColumn(
            "as_of",
            "timestamp with time zone",
            "The month's last microsecond, in UTC: the quick way to all users of one month.",
        ),
        _OUTCOME,
    ),
    """
SELECT (date_trunc('month', r.as_of AT TIME ZONE 'UTC'))::date, s.user_id, s.probability, s.rank,
    100.0::double precision * (r.users - s.rank) / nullif(r.users, 0), s.customer_value, s.expected_profit,
    a.user_id IS NOT NULL, a.treatment_group,
    CASE WHEN t.withdrawn_at IS NULL THEN t.treated_at END,
    CASE WHEN t.withdrawn_at IS NULL THEN t.channel END,
    CASE WHEN t.withdrawn_at IS NULL THEN t.offer END,
    (SELECT CASE WHEN NOT l.is_withdrawn THEN l.churn_label END FROM {labels} AS l
        WHERE l.as_of = s.as_of AND l.user_id = s.user_id ORDER BY l.known_at DESC LIMIT 1),
    s.release_id, greatest(r.recorded_at, i.recorded_at, t.recorded_at, b.recorded_at), s.as_of,
    CASE WHEN t.withdrawn_at IS NULL THEN t.outcome END
FROM churn_scores AS s JOIN churn_score_runs AS r ON r.as_of = s.as_of
LEFT JOIN action_list AS a ON a.as_of = s.as_of AND a.user_id = s.user_id
LEFT JOIN action_lists AS i ON i.as_of = s.as_of
LEFT JOIN treatments AS t ON t.as_of = s.as_of AND t.user_id = s.user_id
LEFT JOIN raw.snapshot_builds AS b ON b.file = 'labels' AND b.as_of = s.as_of""",
)
