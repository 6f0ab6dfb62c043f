"""The views of what calling brought: in a month, by segment, and in all months together."""

from churn.database.retention.declared import MONTH, UPDATED_AT, RetentionView, ViewColumn

_CURRENCY = "currency units"
_USERS = "users"

_MEASURED = (
    ViewColumn("is_claimed", "boolean", "The figures below stand; else they are null."),
    ViewColumn("not_claimed_because", "text", "Why nothing is claimed; null where something is."),
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
)

UPLIFT = RetentionView(
    "uplift",
    "What calling brought in one month, by intent to treat, or why nothing can be claimed.",
    ("month",),
    (
        MONTH,
        *_MEASURED,
        UPDATED_AT,
        ViewColumn("measured_at", "timestamp with time zone", "When it was last measured."),
        ViewColumn(
            "is_outdated",
            "boolean",
            "Treatments were reported, replaced or withdrawn since, which it does not count.",
        ),
    ),
    """
SELECT (date_trunc('month', u.as_of AT TIME ZONE 'UTC'))::date, not_claimed IS NULL, not_claimed,
    CASE WHEN not_claimed IS NULL THEN uplift_low > 0 END, listed, treated, control,
    churn_treated, churn_control, u.uplift, uplift_low, uplift_high,
    saved_users, saved_users_low, saved_users_high, cost, profit, profit_low, profit_high,
    contacted, breaches, unlabelled, greatest(u.recorded_at, t.recorded_at), u.recorded_at,
    t.recorded_at IS DISTINCT FROM u.reported_at
FROM monitoring.uplift AS u LEFT JOIN treatment_months AS t ON t.as_of = u.as_of""",
)

UPLIFT_SEGMENT = RetentionView(
    "uplift_segment",
    "What calling brought among the users of one level of one segment, measured with the month's uplift.",
    ("month", "segment", "level"),
    (
        MONTH,
        ViewColumn("segment", "text", "The segment, as the contract calls it."),
        ViewColumn(
            "level", "text", "A value of it, or a band of values; `unknown` where it is blank."
        ),
        *_MEASURED,
        UPDATED_AT,
    ),
    """
SELECT (date_trunc('month', u.as_of AT TIME ZONE 'UTC'))::date, segment, level,
    not_claimed IS NULL, not_claimed,
    CASE WHEN not_claimed IS NULL THEN uplift_low > 0 END, listed, treated, control,
    churn_treated, churn_control, u.uplift, uplift_low, uplift_high,
    saved_users, saved_users_low, saved_users_high, cost, profit, profit_low, profit_high,
    contacted, breaches, unlabelled, recorded_at
FROM monitoring.uplift_segments AS u""",
)

# Months err independently of one another: distances to the bounds add up as squares, each side with its own
# (MOVER; Zou and Donner, 2008).
UPLIFT_TOTAL = RetentionView(
    "uplift_total",
    "What calling brought up to one month, in all months together of which something is claimed.",
    ("month",),
    (
        MONTH,
        ViewColumn(
            "months", "bigint", "Months that are added up, this one the last of them.", "months"
        ),
        ViewColumn("is_shown", "boolean", "The interval lies above zero: the calls kept users."),
        ViewColumn("saved_users", "double precision", "Sum of the months' saved_users.", _USERS),
        ViewColumn("saved_users_low", "double precision", "Lower bound of saved_users.", _USERS),
        ViewColumn("saved_users_high", "double precision", "Upper bound of saved_users.", _USERS),
        ViewColumn("cost", "double precision", "Sum of the months' cost.", _CURRENCY),
        ViewColumn("profit", "double precision", "Sum of the months' profit.", _CURRENCY),
        ViewColumn("profit_low", "double precision", "Lower bound of profit.", _CURRENCY),
        ViewColumn("profit_high", "double precision", "Upper bound of profit.", _CURRENCY),
        UPDATED_AT,
    ),
    """
SELECT month, months, saved - saved_below > 0, saved, saved - saved_below, saved + saved_above,
    cost, profit, profit - profit_below, profit + profit_above, recorded_at
FROM (SELECT (date_trunc('month', as_of AT TIME ZONE 'UTC'))::date AS month, not_claimed,
        count(uplift) OVER so_far AS months, sum(cost) OVER so_far AS cost,
        sum(saved_users) OVER so_far AS saved, sum(profit) OVER so_far AS profit,
        sqrt(sum((saved_users - saved_users_low) ^ 2) OVER so_far) AS saved_below,
        sqrt(sum((saved_users_high - saved_users) ^ 2) OVER so_far) AS saved_above,
        sqrt(sum((profit - profit_low) ^ 2) OVER so_far) AS profit_below,
        sqrt(sum((profit_high - profit) ^ 2) OVER so_far) AS profit_above,
        max(recorded_at) OVER so_far AS recorded_at
    FROM monitoring.uplift WINDOW so_far AS (ORDER BY as_of)) AS months
WHERE not_claimed IS NULL""",
)
