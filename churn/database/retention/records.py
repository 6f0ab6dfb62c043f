"""The views of what was decided and of what was delivered."""

from churn.database.retention.declared import MONTH, UPDATED_AT, Column, RetentionView

_INSTANT = "timestamp with time zone"

DECISIONS = RetentionView(
    "decisions",
    "One entry of the promotion ledger: a decision of the gate, or what a person did by hand.",
    ("seq",),
    (
        Column("seq", "bigint", "Number of the entry in the ledger, from 1."),
        Column(
            "month",
            "date",
            "Month whose labels it was judged on, its first day; null: done by hand.",
        ),
        Column("kind", "text", "`decision`, `promotion by hand` or `rollback`."),
        Column("outcome", "text", "`promote`, `keep` or `restore`."),
        Column("decided_for", _INSTANT, "In force from this instant on."),
        Column("recorded_at", _INSTANT, "When the entry was written."),
        Column("is_standing", "boolean", "No later decision on the same month has superseded it."),
        Column("supersedes", "bigint", "The entry that this one takes the place of; null: none."),
        Column("release_id", "text", "The release in force after it; null: none yet."),
        Column("champion_id", "text", "The release in force before it; null: none."),
        Column(
            "challenger_id", "text", "The release that was judged, or chosen by hand; null: none."
        ),
        Column("reasons", "text", "Why, in sentences, separated by `; `."),
        Column("actor", "text", "`gate`, or who did it."),
        Column("trigger", "text", "What asked for the decision; null: done by hand."),
        Column("judged_users", "bigint", "Hold-out users who judged; null: nobody did.", "users"),
        Column("judged_leavers", "bigint", "Of judged_users, those who left.", "users"),
        Column(
            "auc_difference",
            "double precision",
            "Challenger's AUC less the champion's.",
            "AUC, -1 to 1",
        ),
        Column("auc_difference_low", "double precision", "Lower bound of it.", "AUC, -1 to 1"),
        Column("auc_difference_high", "double precision", "Upper bound of it.", "AUC, -1 to 1"),
        Column(
            "profit_difference",
            "double precision",
            "Challenger's profit per user less the champion's.",
            "currency units per user",
        ),
        Column(
            "profit_difference_low",
            "double precision",
            "Lower bound of it.",
            "currency units per user",
        ),
        Column(
            "profit_difference_high",
            "double precision",
            "Upper bound of it.",
            "currency units per user",
        ),
        Column(
            "evidence",
            "jsonb",
            "All that the entry rests on, as the ledger keeps it; its keys may grow.",
        ),
        Column("hash", "text", "Seals the entry behind the one before it."),
        UPDATED_AT,
    ),
    """
SELECT seq, (e ->> 'month' || '-01')::date, e ->> 'kind', e ->> 'outcome',
    (e ->> 'decided_for')::timestamptz, (e ->> 'recorded_at')::timestamptz,
    e ->> 'kind' <> 'decision' OR seq = max(seq) OVER of_month, (e ->> 'supersedes')::bigint,
    e ->> 'release_id', e ->> 'champion', e ->> 'challenger',
    (SELECT string_agg(reason, '; ' ORDER BY at)
        FROM jsonb_array_elements_text(e -> 'reasons') WITH ORDINALITY AS reasons (reason, at)),
    e ->> 'actor', e -> 'evidence' ->> 'trigger',
    CASE WHEN e -> 'evidence' ->> 'fingerprint' <> '' THEN (e -> 'evidence' ->> 'rows')::bigint END,
    CASE WHEN e -> 'evidence' ->> 'fingerprint' <> '' THEN (e -> 'evidence' ->> 'left')::bigint END,
    (e -> 'evidence' -> 'differences' -> 'auc' ->> 'estimate')::double precision,
    (e -> 'evidence' -> 'differences' -> 'auc' ->> 'low')::double precision,
    (e -> 'evidence' -> 'differences' -> 'auc' ->> 'high')::double precision,
    (e -> 'evidence' -> 'differences' -> 'profit' ->> 'estimate')::double precision,
    (e -> 'evidence' -> 'differences' -> 'profit' ->> 'low')::double precision,
    (e -> 'evidence' -> 'differences' -> 'profit' ->> 'high')::double precision,
    e -> 'evidence', hash,
    CASE WHEN e ->> 'kind' = 'decision' THEN max((e ->> 'recorded_at')::timestamptz) OVER of_month
        ELSE (e ->> 'recorded_at')::timestamptz END
FROM (SELECT seq, hash, entry::jsonb AS e FROM decisions.ledger) AS entries
WINDOW of_month AS (PARTITION BY e ->> 'kind', e ->> 'month')""",
)

DELIVERIES = RetentionView(
    "deliveries",
    "One accepted version of one file of one month; what was refused is not recorded in Postgres.",
    ("delivery_id",),
    (
        Column("delivery_id", "bigint", "Number of the delivery."),
        MONTH,
        Column("file", "text", "The contract's table that the file is of; `labels` for who left."),
        Column("version", "bigint", "1 is the month's first version of the file.", "versions"),
        Column("state", "text", "`accepted`: the first version; `corrected`: a later one."),
        Column("rows", "bigint", "Rows of the file.", "rows"),
        Column("sha256", "text", "Of the file as it was delivered."),
        Column(
            "due_at",
            _INSTANT,
            "When it could be known first: the month's end, of labels a month later.",
        ),
        Column("known_at", _INSTANT, "Since when its content counts as known."),
        Column("accepted_at", _INSTANT, "When it was taken in."),
        Column("is_late", "boolean", "A first version that was not known when it was due."),
        Column("is_in_force", "boolean", "The version of the file that the month is made of."),
        Column(
            "unloadable_because",
            "text",
            "Why it could not be loaded; null: it was, or was not tried.",
        ),
        Column(
            "blocked_because", "text", "What cannot be in it, unconfirmed; null: nothing blocks it."
        ),
        Column(
            "confirmation", "text", "Who confirmed what cannot be, and why; null: nobody had to."
        ),
        UPDATED_AT,
    ),
    """
SELECT delivery_id, month, file, row_number() OVER (PARTITION BY month, file ORDER BY delivery_id),
    CASE WHEN is_first THEN 'accepted' ELSE 'corrected' END,
    rows, sha256, due_at, known_at, accepted_at,
    is_first AND known_at > due_at,
    row_number() OVER (PARTITION BY month, file
        ORDER BY unloadable IS NOT NULL, known_at DESC, delivery_id DESC) = 1,
    unloadable,
    (SELECT string_agg(what, '; ' ORDER BY rule) FROM raw.blocked AS x
        WHERE x.delivery_id = d.delivery_id),
    confirmed.words,
    max(greatest(accepted_at, marked_at, judged_at, confirmed.recorded_at))
        OVER (PARTITION BY month, file)
FROM (SELECT *, delivery_id = min(delivery_id) OVER (PARTITION BY month, file) AS is_first,
        (month + CASE file WHEN 'labels' THEN interval '2 months' ELSE interval '1 month' END)
            AT TIME ZONE 'UTC' - interval '1 microsecond' AS due_at
      FROM raw.deliveries) AS d
LEFT JOIN raw.judgements USING (delivery_id)
LEFT JOIN LATERAL (
    SELECT string_agg(format('%s: %s', actor, reason), '; ' ORDER BY confirmation_id) AS words,
        max(recorded_at) AS recorded_at
    FROM decisions.confirmations AS c
    WHERE c.month = d.month AND c.file = d.file AND c.fingerprint = d.fingerprint) AS confirmed ON true""",
)
