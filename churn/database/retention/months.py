"""The views of a row per month, and of a few: the month itself and its performance."""

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
LEFT JOIN LATERAL (SELECT max(recorded_at) AS recorded_at FROM monitoring.uplift AS x
    WHERE x.as_of <= m.as_of) AS u ON true
LEFT JOIN monitoring.model_performance AS p
    ON p.as_of = m.as_of AND p.users = 'all' AND p.metric = 'churn_rate'
LEFT JOIN LATERAL (SELECT max(recorded_at) AS recorded_at FROM monitoring.feature_drift AS x
    WHERE x.as_of = m.as_of) AS f ON true
LEFT JOIN LATERAL (SELECT max(recorded_at) AS recorded_at FROM monitoring.segment_figures AS x
    WHERE x.as_of IN (m.as_of, m.month::timestamp AT TIME ZONE 'UTC' - interval '1 microsecond')) AS s ON true
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
