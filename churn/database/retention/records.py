"""The views of what was decided and of what was delivered."""

from churn.database.retention.declared import MONTH, UPDATED_AT, RetentionView, ViewColumn

_INSTANT = "timestamp with time zone"

DECISIONS = RetentionView(
    "decisions",
    "One entry of the promotion ledger: a decision of the gate, or what a person did by hand.",
    ("seq",),
    (
        ViewColumn("seq", "bigint", "Number of the entry in the ledger, from 1."),
        ViewColumn(
            "month",
            "date",
            "Month whose labels it was judged on, its first day; null: done by hand.",
        ),
        ViewColumn("kind", "text", "`decision`, `promotion by hand` or `rollback`."),
        ViewColumn("outcome", "text", "`promote`, `keep` or `restore`."),
        ViewColumn("decided_for", _INSTANT, "In force from this instant on."),
        ViewColumn("recorded_at", _INSTANT, "When the entry was written."),
        ViewColumn(
            "is_standing", "boolean", "No later decision on the same month has superseded it."
        ),
        ViewColumn(
            "supersedes", "bigint", "The entry that this one takes the place of; null: none."
        ),
        ViewColumn("release_id", "text", "The release in force after it; null: none yet."),
        ViewColumn("champion_id", "text", "The release in force before it; null: none."),
        ViewColumn(
            "challenger_id", "text", "The release that was judged, or chosen by hand; null: none."
        ),
        ViewColumn("reasons", "text", "Why, in sentences, separated by `; `."),
        ViewColumn("actor", "text", "`gate`, or who did it."),
        ViewColumn("trigger", "text", "What asked for the decision; null: done by hand."),
        ViewColumn(
            "judged_users", "bigint", "Hold-out users who judged; null: nobody did.", "users"
        ),
        ViewColumn("judged_leavers", "bigint", "Of judged_users, those who left.", "users"),
        ViewColumn(
            "auc_difference",
            "double precision",
            "Challenger's AUC less the champion's.",
            "AUC, -1 to 1",
        ),
        ViewColumn("auc_difference_low", "double precision", "Lower bound of it.", "AUC, -1 to 1"),
        ViewColumn("auc_difference_high", "double precision", "Upper bound of it.", "AUC, -1 to 1"),
        ViewColumn(
            "profit_difference",
            "double precision",
            "Challenger's profit per user less the champion's.",
            "currency units per user",
        ),
        ViewColumn(
            "profit_difference_low",
            "double precision",
            "Lower bound of it.",
            "currency units per user",
        ),
        ViewColumn(
            "profit_difference_high",
            "double precision",
            "Upper bound of it.",
            "currency units per user",
        ),
        ViewColumn(
            "evidence",
            "jsonb",
            "All that the entry rests on, as the ledger keeps it; its keys may grow.",
        ),
        ViewColumn("hash", "text", "Seals the entry behind the one before it."),
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

CAMPAIGNS = RetentionView(
    "campaigns",
    "One campaign that was saved: the terms of the lists of a month and of those after it.",
    ("campaign_id",),
    (
        ViewColumn("campaign_id", "bigint", "Number of the campaign; the newest takes precedence."),
        ViewColumn("month", "date", "First day of the first month that it holds for."),
        ViewColumn(
            "customer_value",
            "double precision",
            "What a user who is kept is worth, where the contract takes it from no column.",
            "currency units",
        ),
        ViewColumn(
            "incentive_cost",
            "double precision",
            "The offer, when it is taken.",
            "currency units per user",
        ),
        ViewColumn(
            "contact_cost", "double precision", "Reaching one user.", "currency units per user"
        ),
        ViewColumn(
            "accept_alpha",
            "double precision",
            "A leaver takes the offer with a probability of Beta(accept_alpha, accept_beta).",
        ),
        ViewColumn("accept_beta", "double precision", "See accept_alpha."),
        ViewColumn(
            "budget",
            "double precision",
            "What contacts and offers of a month's list may cost, as expected.",
            "currency units",
        ),
        ViewColumn(
            "control_share", "double precision", "Share of the list left alone.", "share, 0 to 1"
        ),
        ViewColumn("reason", "text", "Why it was saved."),
        ViewColumn("actor", "text", "Who saved it."),
        UPDATED_AT,
    ),
    """
SELECT campaign_id, month, customer_value, incentive_cost, contact_cost, accept_alpha, accept_beta, budget,
    control_share, reason, actor, recorded_at
FROM decisions.campaigns""",
)

DELIVERIES = RetentionView(
    "deliveries",
    "One accepted version of one file of one month; what was refused is not recorded in Postgres.",
    ("delivery_id",),
    (
        ViewColumn("delivery_id", "bigint", "Number of the delivery."),
        MONTH,
        ViewColumn(
            "file", "text", "The contract's table that the file is of; `labels` for who left."
        ),
        ViewColumn("version", "bigint", "1 is the month's first version of the file.", "versions"),
        ViewColumn("state", "text", "`accepted`: the first version; `corrected`: a later one."),
        ViewColumn("rows", "bigint", "Rows of the file.", "rows"),
        ViewColumn("sha256", "text", "Of the file as it was delivered."),
        ViewColumn(
            "due_at",
            _INSTANT,
            "When it could be known first: the month's end, of labels a month later.",
        ),
        ViewColumn("known_at", _INSTANT, "Since when its content counts as known."),
        ViewColumn("accepted_at", _INSTANT, "When it was taken in."),
        ViewColumn("is_late", "boolean", "A first version that was not known when it was due."),
        ViewColumn("is_in_force", "boolean", "The version of the file that the month is made of."),
        ViewColumn(
            "unloadable_because",
            "text",
            "Why it could not be loaded; null: it was, or was not tried.",
        ),
        ViewColumn(
            "blocked_because", "text", "What cannot be in it, unconfirmed; null: nothing blocks it."
        ),
        ViewColumn(
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
