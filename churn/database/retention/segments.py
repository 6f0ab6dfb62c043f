"""The views of a month's segments and reasons: who is expected to leave, and why."""

from churn.database.retention.declared import MONTH, UPDATED_AT, RetentionView, ViewColumn

_CURRENCY = "currency units"
_USERS = "users"
_SHARE = "share, 0 to 1"


# The bounds are Wilson's, of counts: wider than a sum of unequal probabilities calls for, so that a change is
# not claimed too soon.
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
        ViewColumn("listed_share", "double precision", "listed_users of users.", _SHARE),
        ViewColumn(
            "share_of_list",
            "double precision",
            "listed_users of all on the month's list; null: the list is empty.",
            _SHARE,
        ),
        ViewColumn(
            "expected_rate_low",
            "double precision",
            "Lower bound at 95 % of the share who leave, if the probabilities are right.",
            _SHARE,
        ),
        ViewColumn("expected_rate_high", "double precision", "Upper bound of the same.", _SHARE),
        ViewColumn(
            "observed_rate_low",
            "double precision",
            "Lower bound of observed_rate at 95 %.",
            _SHARE,
        ),
        ViewColumn(
            "observed_rate_high",
            "double precision",
            "Upper bound of observed_rate at 95 %.",
            _SHARE,
        ),
        ViewColumn(
            "users_before",
            "bigint",
            "users of the month before; null: it has no such row.",
            _USERS,
        ),
        ViewColumn(
            "expected_change",
            "double precision",
            "expected_rate less that of the month before.",
            "share, -1 to 1",
        ),
        ViewColumn(
            "expected_change_not_claimed_because",
            "text",
            "Why expected_change tells nothing of the users; null: the bounds of the two months lie apart.",
        ),
        ViewColumn(
            "observed_change",
            "double precision",
            "observed_rate less that of the month before; null: one of them is not known.",
            "share, -1 to 1",
        ),
        ViewColumn(
            "observed_change_not_claimed_because",
            "text",
            "Why observed_change tells nothing of the users; null: the bounds of the two months lie apart.",
        ),
    ),
    """
WITH sums AS (
    SELECT *, observed_leavers::double precision / nullif(labelled, 0) AS observed_rate,
        expected_leavers / users AS expected_rate,
        sum(expected_leavers) OVER everybody / sum(users) OVER everybody AS expected_mean,
        (sum(observed_leavers) OVER everybody / nullif(sum(labelled) OVER everybody, 0))::double precision
            AS observed_mean,
        nullif(sum(listed) OVER everybody, 0)::double precision AS listed_of_all
    FROM monitoring.segment_figures WINDOW everybody AS (PARTITION BY as_of, segment)),
f AS (
    SELECT sums.*,
        (expected_rate + e / 2 - sqrt(e * expected_rate * (1 - expected_rate) + e * e / 4)) / (1 + e)
            AS expected_low,
        (expected_rate + e / 2 + sqrt(e * expected_rate * (1 - expected_rate) + e * e / 4)) / (1 + e)
            AS expected_high,
        (observed_rate + o / 2 - sqrt(o * observed_rate * (1 - observed_rate) + o * o / 4)) / (1 + o)
            AS observed_low,
        (observed_rate + o / 2 + sqrt(o * observed_rate * (1 - observed_rate) + o * o / 4)) / (1 + o)
            AS observed_high
    FROM sums CROSS JOIN LATERAL (
        SELECT normal ^ 2 / users AS e, normal ^ 2 / nullif(labelled, 0) AS o
        FROM (SELECT 1.959963984540054::double precision AS normal) AS of_95_per_cent) AS parts)
SELECT (date_trunc('month', f.as_of AT TIME ZONE 'UTC'))::date, f.segment, f.level, f.users,
    f.expected_leavers, f.expected_rate, f.expected_rate / nullif(f.expected_mean, 0),
    f.labelled, f.observed_leavers, f.observed_rate, f.observed_rate / nullif(f.observed_mean, 0),
    f.value_at_risk, f.value_lost, f.listed, f.expected_profit, f.release_id,
    greatest(f.recorded_at, b.recorded_at),
    f.listed::double precision / f.users, f.listed / f.listed_of_all,
    f.expected_low, f.expected_high, f.observed_low, f.observed_high,
    b.users,
    f.expected_rate - b.expected_rate,
    CASE WHEN b.users IS NULL THEN 'there are no figures of the month before'
        WHEN f.release_id <> b.release_id THEN 'another release scored the month before'
        WHEN least(f.users, b.users) < 50 THEN 'fewer than 50 users in one of the two months'
        WHEN f.expected_low <= b.expected_high AND b.expected_low <= f.expected_high
            THEN 'the bounds of the two months overlap' END,
    f.observed_rate - b.observed_rate,
    CASE WHEN f.observed_rate IS NULL THEN 'who left is not known yet'
        WHEN b.observed_rate IS NULL THEN 'who left in the month before is not known'
        WHEN least(f.labelled, b.labelled) < 50 THEN 'fewer than 50 users in one of the two months'
        WHEN f.observed_low <= b.observed_high AND b.observed_low <= f.observed_high
            THEN 'the bounds of the two months overlap' END
FROM f LEFT JOIN f AS b ON b.segment = f.segment AND b.level = f.level
    AND b.as_of = date_trunc('month', f.as_of AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'
        - interval '1 microsecond'""",
)

REASON_MONTH = RetentionView(
    "reason_month",
    "One reason that is the strongest of users on one month's list.",
    ("month", "reason"),
    (
        MONTH,
        ViewColumn(
            "reason",
            "text",
            "The feature, as the sentences about it begin; blank: nothing raises the risk of these users.",
        ),
        ViewColumn("listed_users", "bigint", "Users on the list who have it as reason_1.", _USERS),
        ViewColumn("treated_users", "bigint", "Of listed_users, those to be called.", _USERS),
        ViewColumn(
            "share_of_list", "double precision", "listed_users of all on the month's list.", _SHARE
        ),
        ViewColumn(
            "expected_profit",
            "double precision",
            "Expected profit of calling all of listed_users.",
            _CURRENCY,
        ),
        UPDATED_AT,
    ),
    """
SELECT (date_trunc('month', f.as_of AT TIME ZONE 'UTC'))::date, reason, listed, treated,
    listed::double precision / sum(listed) OVER (PARTITION BY as_of)::double precision,
    expected_profit, recorded_at
FROM monitoring.reason_figures AS f""",
)
