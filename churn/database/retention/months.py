"""The views of a row per month, and of a few: the month itself, its segments, its uplift, its performance."""

from churn.database.retention.declared import MONTH, UPDATED_AT, RetentionView, ViewColumn

_CURRENCY = "currency units"
_USERS = "users"

# A month that lies between others and of which nothing came is a row, too: its drop is late.
MONTH_VIEW = RetentionView(
    "month",
    "One calendar month, from the first of which a drop was accepted to the last, gaps included.",
    ("month",),
    (
        MONTH,
        ViewColumn(
            "labels_due", "date", "Last day of the month after: who left is known at its end."
        ),
        ViewColumn(
            "awaits_drop", "boolean", "No file of the month but labels is here that may be used."
        ),
        ViewColumn(
            "awaits_scores", "boolean", "Its drop is here, and nobody has been scored from it yet."
        ),
        ViewColumn("awaits_labels", "boolean", "No labels of the month are here that may be used."),
        ViewColumn(
            "behind",
            "text",
            "What failed, or waits for what did, as of the pipeline's last look; null: nothing. It does not"
            " move updated_at.",
        ),
        ViewColumn("scored_at", "timestamp with time zone", "When the month was last scored."),
        ViewColumn(
            "release_id",
            "text",
            "The release in force when the month closed, which scored it; null: there was none.",
        ),
        ViewColumn("release_version", "text", "That release's version in MLflow."),
        ViewColumn("release_candidate", "text", "What kind of model that release is."),
        ViewColumn(
            "release_trained_on",
            "date",
            "First day of the newest month whose labels it was fitted to.",
        ),
        ViewColumn(
            "users",
            "bigint",
            "Users who were scored, 0 before a release; null: not scored.",
            _USERS,
        ),
        ViewColumn(
            "expected_leavers", "double precision", "Sum of the served probabilities.", _USERS
        ),
        ViewColumn(
            "estimated_leavers",
            "double precision",
            "Leavers to expect after what matured months say of the release's probabilities.",
            _USERS,
        ),
        ViewColumn(
            "estimated_leavers_low", "double precision", "Lower bound of estimated_leavers.", _USERS
        ),
        ViewColumn(
            "estimated_leavers_high",
            "double precision",
            "Upper bound of estimated_leavers.",
            _USERS,
        ),
        ViewColumn(
            "labelled_users",
            "bigint",
            "Scored users of whom it is known; null: not matured.",
            _USERS,
        ),
        ViewColumn("observed_leavers", "bigint", "Of labelled_users, those who left.", _USERS),
        ViewColumn(
            "value_at_risk",
            "double precision",
            "Sum over all users of probability times customer_value.",
            _CURRENCY,
        ),
        ViewColumn(
            "listed_users", "bigint", "Users on the action list; null: no list yet.", _USERS
        ),
        ViewColumn("treated_users", "bigint", "Of listed_users, those to be called.", _USERS),
        ViewColumn("control_users", "bigint", "Of listed_users, those to be left alone.", _USERS),
        ViewColumn(
            "expected_profit",
            "double precision",
            "Expected profit of calling those who are to be called.",
            _CURRENCY,
        ),
        ViewColumn("contacted_users", "bigint", "Users of whom a treatment was reported.", _USERS),
        ViewColumn(
            "list_hash",
            "text",
            "Fingerprint of the list; another list has another. Null: not kept then.",
        ),
        ViewColumn("drift_alarm", "text", "Columns that drifted, the farthest first; null: none."),
        ViewColumn(
            "performance_alarm", "text", "Why realised performance is alarming; null: it is not."
        ),
        ViewColumn(
            "open_alarms",
            "integer",
            "How many of the two stand: the newest of their kind about the release now in force.",
            "alarms",
        ),
        ViewColumn(
            "decision", "text", "`promote` or `keep`: what stands for the month; null: not decided."
        ),
        ViewColumn("decision_seq", "bigint", "The ledger's entry of it, see retention.decisions."),
        UPDATED_AT,
        ViewColumn(
            "campaign_id",
            "bigint",
            "The campaign that the list was made under, see retention.campaigns; null: the settings.",
        ),
    ),
    """
SELECT m.month,
    (m.month + interval '2 months' - interval '1 day')::date,
    NOT d.has_drop,
    d.has_drop AND r.as_of IS NULL,
    NOT d.has_labels,
    behind.sentences,
    r.recorded_at,
    r.release_id, release.version, release.candidate, date_trunc('month', release.as_of)::date,
    r.users, r.expected_leavers,
    p.estimated * r.users, p.estimated_low * r.users, p.estimated_high * r.users,
    CASE WHEN p.realised IS NOT NULL THEN p.rows END, round(p.realised * p.rows)::bigint,
    r.value_at_risk,
    l.treated + l.control, l.treated, l.control, l.expected_profit,
    coalesce(t.users, 0), l.fingerprint,
    drift.said, performance.said,
    coalesce(drift.is_open, false)::integer + coalesce(performance.is_open, false)::integer,
    decision.outcome, decision.seq,
    greatest(d.recorded_at, b.recorded_at, r.recorded_at, l.recorded_at, t.recorded_at, p.recorded_at,
        f.recorded_at, s.recorded_at, u.recorded_at, decision.recorded_at,
        CASE WHEN coalesce(drift.said, performance.said) <> '' THEN newest.recorded_at END),
    r.campaign_id
FROM (SELECT month::date, (month + interval '1 month') AT TIME ZONE 'UTC' - interval '1 microsecond' AS as_of
      FROM (SELECT generate_series(min(month)::timestamp, max(month)::timestamp, interval '1 month') AS month
            FROM raw.deliveries) AS months) AS m
CROSS JOIN LATERAL (
    SELECT coalesce(bool_or(is_usable AND file <> 'labels'), false) AS has_drop,
        coalesce(bool_or(is_usable AND file = 'labels'), false) AS has_labels,
        max(recorded_at) AS recorded_at
    FROM (SELECT file, unloadable IS NULL
            AND NOT EXISTS (SELECT FROM raw.blocked AS x WHERE x.delivery_id = v.delivery_id) AS is_usable,
            greatest(accepted_at, marked_at, judged_at, (SELECT max(c.recorded_at)
                FROM decisions.confirmations AS c WHERE c.month = v.month AND c.file = v.file
                AND c.fingerprint = v.fingerprint)) AS recorded_at
        FROM raw.deliveries AS v LEFT JOIN raw.judgements USING (delivery_id)
        WHERE v.month = m.month) AS versions) AS d
LEFT JOIN raw.snapshot_builds AS b ON b.file = 'labels' AND b.as_of = m.as_of
LEFT JOIN churn_score_runs AS r ON r.as_of = m.as_of
LEFT JOIN decisions.releases AS release ON release.release_id = r.release_id
LEFT JOIN action_lists AS l ON l.as_of = m.as_of
LEFT JOIN monitoring.uplift AS u ON u.as_of = m.as_of
LEFT JOIN monitoring.model_performance AS p
    ON p.as_of = m.as_of AND p.users = 'all' AND p.metric = 'churn_rate'
LEFT JOIN LATERAL (SELECT max(recorded_at) AS recorded_at FROM monitoring.feature_drift AS x
    WHERE x.as_of = m.as_of) AS f ON true
LEFT JOIN LATERAL (SELECT max(recorded_at) AS recorded_at FROM monitoring.segment_figures AS x
    WHERE x.as_of = m.as_of) AS s ON true
LEFT JOIN treatment_months AS t ON t.as_of = m.as_of
LEFT JOIN LATERAL (SELECT string_agg(sentence, ' ' ORDER BY stage) AS sentences
    FROM online.months_behind AS x WHERE x.month = m.month) AS behind ON true
LEFT JOIN monitoring.alarms AS drift ON drift.kind = 'drift' AND drift.as_of = m.as_of
LEFT JOIN monitoring.alarms AS performance
    ON performance.kind = 'performance' AND performance.as_of = m.as_of
LEFT JOIN (
    SELECT DISTINCT ON (e ->> 'month') seq, e ->> 'outcome' AS outcome,
        (e ->> 'month' || '-01')::date AS month, (e ->> 'recorded_at')::timestamptz AS recorded_at
    FROM (SELECT seq, entry::jsonb AS e FROM decisions.ledger) AS entries
    WHERE e ->> 'kind' = 'decision' ORDER BY e ->> 'month', seq DESC) AS decision
    ON decision.month = m.month
LEFT JOIN (SELECT (entry::jsonb ->> 'recorded_at')::timestamptz AS recorded_at
    FROM decisions.ledger ORDER BY seq DESC LIMIT 1) AS newest ON true""",
)

SEGMENT_MONTH = RetentionView(
    "segment_month",
    "One level of one segment of the contract in one scored month; of each segment a user is in one level.",
    ("month", "segment", "level"),
    (
        MONTH,
        ViewColumn("segment", "text", "The segment, as the contract calls it."),
        ViewColumn(
            "level", "text", "A value of it, or a band of values; `unknown` where it is blank."
        ),
        ViewColumn("users", "bigint", "Users who were scored.", _USERS),
        ViewColumn(
            "expected_leavers", "double precision", "Sum of the served probabilities.", _USERS
        ),
        ViewColumn(
            "expected_rate", "double precision", "expected_leavers of users.", "share, 0 to 1"
        ),
        ViewColumn(
            "expected_lift",
            "double precision",
            "expected_rate over that of all users.",
            "ratio, 1 is the mean",
        ),
        ViewColumn(
            "labelled_users",
            "bigint",
            "Of users, those of whom it is known; 0: not matured.",
            _USERS,
        ),
        ViewColumn(
            "observed_leavers",
            "bigint",
            "Of labelled_users, those who left; null: not matured.",
            _USERS,
        ),
        ViewColumn(
            "observed_rate",
            "double precision",
            "observed_leavers of labelled_users.",
            "share, 0 to 1",
        ),
        ViewColumn(
            "observed_lift",
            "double precision",
            "observed_rate over that of all users.",
            "ratio, 1 is the mean",
        ),
        ViewColumn(
            "value_at_risk",
            "double precision",
            "Sum over its users of probability times customer_value; null: scored before that was kept.",
            _CURRENCY,
        ),
        ViewColumn(
            "value_lost",
            "double precision",
            "Sum of customer_value of those who left; null: not matured.",
            _CURRENCY,
        ),
        ViewColumn(
            "listed_users", "bigint", "Users due an action, the control group among them.", _USERS
        ),
        ViewColumn(
            "expected_profit",
            "double precision",
            "Expected profit of calling all of listed_users.",
            _CURRENCY,
        ),
        ViewColumn("release_id", "text", "The release that scored them."),
        UPDATED_AT,
    ),
    """
SELECT (date_trunc('month', f.as_of AT TIME ZONE 'UTC'))::date, segment, level, users,
    expected_leavers,
    expected_leavers / users,
    expected_leavers / users / nullif(sum(expected_leavers) OVER everybody / sum(users) OVER everybody, 0),
    labelled, observed_leavers,
    observed_leavers::double precision / nullif(labelled, 0),
    observed_leavers::double precision / nullif(labelled, 0)
        / nullif((sum(observed_leavers) OVER everybody / nullif(sum(labelled) OVER everybody, 0))
            ::double precision, 0),
    value_at_risk, value_lost, listed, expected_profit, release_id, recorded_at
FROM monitoring.segment_figures AS f WINDOW everybody AS (PARTITION BY as_of, segment)""",
)

UPLIFT = RetentionView(
    "uplift",
    "What calling brought in one month, by intent to treat, or why nothing can be claimed.",
    ("month",),
    (
        MONTH,
        ViewColumn("is_claimed", "boolean", "The figures below stand; else they are null."),
        ViewColumn(
            "not_claimed_because", "text", "Why nothing is claimed; null where something is."
        ),
        ViewColumn("is_shown", "boolean", "The interval lies above zero: the calls kept users."),
        ViewColumn("listed_users", "bigint", "Users on the action list.", _USERS),
        ViewColumn(
            "treated_users",
            "bigint",
            "Labelled users who were to be called, called or not.",
            _USERS,
        ),
        ViewColumn("control_users", "bigint", "Labelled users who were to be left alone.", _USERS),
        ViewColumn(
            "leave_rate_treated",
            "double precision",
            "Share of treated_users who left.",
            "share, 0 to 1",
        ),
        ViewColumn(
            "leave_rate_control",
            "double precision",
            "Share of control_users who left, the bands of the list weighted as the treated stand in them.",
            "share, 0 to 1",
        ),
        ViewColumn(
            "uplift",
            "double precision",
            "leave_rate_control less leave_rate_treated: by how much calling lowered leaving.",
            "share, -1 to 1",
        ),
        ViewColumn(
            "uplift_low", "double precision", "Lower bound of uplift at 95 %.", "share, -1 to 1"
        ),
        ViewColumn(
            "uplift_high", "double precision", "Upper bound of uplift at 95 %.", "share, -1 to 1"
        ),
        ViewColumn("saved_users", "double precision", "uplift times treated_users.", _USERS),
        ViewColumn("saved_users_low", "double precision", "Lower bound of saved_users.", _USERS),
        ViewColumn("saved_users_high", "double precision", "Upper bound of saved_users.", _USERS),
        ViewColumn(
            "cost",
            "double precision",
            "Of the contacts, and of the offer to each contacted user who stayed.",
            _CURRENCY,
        ),
        ViewColumn(
            "profit",
            "double precision",
            "saved_users at what a kept user is worth, less cost.",
            _CURRENCY,
        ),
        ViewColumn("profit_low", "double precision", "Lower bound of profit.", _CURRENCY),
        ViewColumn("profit_high", "double precision", "Upper bound of profit.", _CURRENCY),
        ViewColumn(
            "contacted_users", "bigint", "Treated users of whom a treatment was reported.", _USERS
        ),
        ViewColumn(
            "contacted_control_users", "bigint", "Control users of whom one was: breaches.", _USERS
        ),
        ViewColumn(
            "unlabelled_users", "bigint", "Users on the list who are not among the labels.", _USERS
        ),
        UPDATED_AT,
    ),
    """
SELECT (date_trunc('month', u.as_of AT TIME ZONE 'UTC'))::date, not_claimed IS NULL, not_claimed,
    CASE WHEN not_claimed IS NULL THEN uplift_low > 0 END, listed, treated, control,
    churn_treated, churn_control, u.uplift, uplift_low, uplift_high,
    saved_users, saved_users_low, saved_users_high, cost, profit, profit_low, profit_high,
    contacted, breaches, unlabelled, recorded_at
FROM monitoring.uplift AS u""",
)

PERFORMANCE = RetentionView(
    "performance",
    "One figure of one set of users of one scored month: what was to be expected, and what came.",
    ("month", "judged_on", "metric"),
    (
        MONTH,
        ViewColumn(
            "judged_on", "text", "`all` users, or the `hold-out`, of whom no model ever learned."
        ),
        ViewColumn(
            "metric",
            "text",
            "`auc`, `log_loss`, `brier`, `churn_rate` (share who leave), `profit` (currency units per user).",
        ),
        ViewColumn(
            "users",
            "bigint",
            "Users it was measured on: once matured, those who have a label.",
            _USERS,
        ),
        ViewColumn(
            "estimated",
            "double precision",
            "What was to be expected before labels.",
            "the metric's",
        ),
        ViewColumn(
            "estimated_low", "double precision", "Lower bound of estimated.", "the metric's"
        ),
        ViewColumn(
            "estimated_high", "double precision", "Upper bound of estimated.", "the metric's"
        ),
        ViewColumn("realised", "double precision", "What came; null: not matured.", "the metric's"),
        ViewColumn("realised_low", "double precision", "Lower bound of realised.", "the metric's"),
        ViewColumn("realised_high", "double precision", "Upper bound of realised.", "the metric's"),
        ViewColumn("error", "double precision", "estimated less realised.", "the metric's"),
        ViewColumn("alarm", "text", "Why the figure is alarming; null: it is not."),
        ViewColumn("release_id", "text", "The release that scored the month."),
        UPDATED_AT,
    ),
    """
SELECT (date_trunc('month', p.as_of AT TIME ZONE 'UTC'))::date, users, metric, rows,
    estimated, estimated_low, estimated_high, realised, realised_low, realised_high,
    estimated - realised, nullif(alarm, ''), release_id, recorded_at
FROM monitoring.model_performance AS p""",
)
