"""The views of a row per month, and of a few: the month itself, its segments, its uplift, its performance."""

from churn.database.retention.declared import MONTH, UPDATED_AT, Column, RetentionView

_CURRENCY = "currency units"
_USERS = "users"

# A month that lies between others and of which nothing came is a row, too: its drop is late.
MONTH_VIEW = RetentionView(
    "month",
    "One calendar month, from the first of which a drop was accepted to the last, gaps included.",
    ("month",),
    (
        MONTH,
        Column("labels_due", "date", "Last day of the month after: who left is known at its end."),
        Column(
            "awaits_drop", "boolean", "No file of the month but labels is here that may be used."
        ),
        Column(
            "awaits_scores", "boolean", "Its drop is here, and nobody has been scored from it yet."
        ),
        Column("awaits_labels", "boolean", "No labels of the month are here that may be used."),
        Column(
            "behind",
            "text",
            "What failed, or waits for what did, as of the pipeline's last look; null: nothing. It does not"
            " move updated_at.",
        ),
        Column("scored_at", "timestamp with time zone", "When the month was last scored."),
        Column(
            "release_id",
            "text",
            "The release in force when the month closed, which scored it; null: there was none.",
        ),
        Column("release_version", "text", "That release's version in MLflow."),
        Column("release_candidate", "text", "What kind of model that release is."),
        Column(
            "release_trained_on",
            "date",
            "First day of the newest month whose labels it was fitted to.",
        ),
        Column("users", "bigint", "Active users who were scored; null: not scored yet.", _USERS),
        Column("expected_leavers", "double precision", "Sum of the served probabilities.", _USERS),
        Column(
            "estimated_leavers",
            "double precision",
            "Leavers to expect after what matured months say of the release's probabilities.",
            _USERS,
        ),
        Column(
            "estimated_leavers_low", "double precision", "Lower bound of estimated_leavers.", _USERS
        ),
        Column(
            "estimated_leavers_high",
            "double precision",
            "Upper bound of estimated_leavers.",
            _USERS,
        ),
        Column(
            "labelled_users",
            "bigint",
            "Scored users of whom it is known; null: not matured.",
            _USERS,
        ),
        Column("observed_leavers", "bigint", "Of labelled_users, those who left.", _USERS),
        Column(
            "value_at_risk",
            "double precision",
            "Sum over all users of probability times customer_value.",
            _CURRENCY,
        ),
        Column("listed_users", "bigint", "Users on the action list; null: no list yet.", _USERS),
        Column("treated_users", "bigint", "Of listed_users, those to be called.", _USERS),
        Column("control_users", "bigint", "Of listed_users, those to be left alone.", _USERS),
        Column(
            "expected_profit",
            "double precision",
            "Expected profit of calling those who are to be called.",
            _CURRENCY,
        ),
        Column("contacted_users", "bigint", "Users of whom a treatment was reported.", _USERS),
        Column(
            "list_hash",
            "text",
            "Fingerprint of the list; another list has another. Null: not kept then.",
        ),
        Column("drift_alarm", "text", "Columns that drifted, the farthest first; null: none."),
        Column(
            "performance_alarm", "text", "Why realised performance is alarming; null: it is not."
        ),
        Column(
            "open_alarms",
            "integer",
            "How many of the two stand: the newest of their kind about the release now in force.",
            "alarms",
        ),
        Column(
            "decision", "text", "`promote` or `keep`: what stands for the month; null: not decided."
        ),
        Column("decision_seq", "bigint", "The ledger's entry of it, see retention.decisions."),
        UPDATED_AT,
    ),
    "",
)

SEGMENT_MONTH = RetentionView(
    "segment_month",
    "One level of one segment of the contract in one scored month; each user is in one level of each segment.",
    ("month", "segment", "level"),
    (
        MONTH,
        Column("segment", "text", "The segment, as the contract calls it."),
        Column("level", "text", "A value of it, or a band of values; `unknown` where it is blank."),
        Column("users", "bigint", "Users who were scored.", _USERS),
        Column("expected_leavers", "double precision", "Sum of the served probabilities.", _USERS),
        Column("expected_rate", "double precision", "expected_leavers of users.", "share, 0 to 1"),
        Column(
            "expected_lift",
            "double precision",
            "expected_rate over that of all users.",
            "ratio, 1 is the mean",
        ),
        Column(
            "labelled_users",
            "bigint",
            "Of users, those of whom it is known; 0: not matured.",
            _USERS,
        ),
        Column(
            "observed_leavers",
            "bigint",
            "Of labelled_users, those who left; null: not matured.",
            _USERS,
        ),
        Column(
            "observed_rate",
            "double precision",
            "observed_leavers of labelled_users.",
            "share, 0 to 1",
        ),
        Column(
            "observed_lift",
            "double precision",
            "observed_rate over that of all users.",
            "ratio, 1 is the mean",
        ),
        Column(
            "value_at_risk",
            "double precision",
            "Sum over its users of probability times customer_value; null: scored before that was kept.",
            _CURRENCY,
        ),
        Column(
            "value_lost",
            "double precision",
            "Sum of customer_value of those who left; null: not matured.",
            _CURRENCY,
        ),
        Column(
            "listed_users", "bigint", "Users due an action, the control group among them.", _USERS
        ),
        Column(
            "expected_profit",
            "double precision",
            "Expected profit of calling all of listed_users.",
            _CURRENCY,
        ),
        Column("release_id", "text", "The release that scored them."),
        UPDATED_AT,
    ),
    "",
)

UPLIFT = RetentionView(
    "uplift",
    "What calling brought in one month, by intent to treat, or why nothing can be claimed.",
    ("month",),
    (
        MONTH,
        Column("is_claimed", "boolean", "The figures below stand; else they are null."),
        Column("not_claimed_because", "text", "Why nothing is claimed; null where something is."),
        Column("is_shown", "boolean", "The interval lies above zero: the calls kept users."),
        Column("listed_users", "bigint", "Users on the action list.", _USERS),
        Column(
            "treated_users",
            "bigint",
            "Labelled users who were to be called, called or not.",
            _USERS,
        ),
        Column("control_users", "bigint", "Labelled users who were to be left alone.", _USERS),
        Column(
            "leave_rate_treated",
            "double precision",
            "Share of treated_users who left.",
            "share, 0 to 1",
        ),
        Column(
            "leave_rate_control",
            "double precision",
            "Share of control_users who left, the bands of the list weighted as the treated stand in them.",
            "share, 0 to 1",
        ),
        Column(
            "uplift",
            "double precision",
            "leave_rate_control less leave_rate_treated: by how much calling lowered leaving.",
            "share, -1 to 1",
        ),
        Column(
            "uplift_low", "double precision", "Lower bound of uplift at 95 %.", "share, -1 to 1"
        ),
        Column(
            "uplift_high", "double precision", "Upper bound of uplift at 95 %.", "share, -1 to 1"
        ),
        Column("saved_users", "double precision", "uplift times treated_users.", _USERS),
        Column("saved_users_low", "double precision", "Lower bound of saved_users.", _USERS),
        Column("saved_users_high", "double precision", "Upper bound of saved_users.", _USERS),
        Column(
            "cost",
            "double precision",
            "Of the contacts, and of the offer to each contacted user who stayed.",
            _CURRENCY,
        ),
        Column(
            "profit",
            "double precision",
            "saved_users at what a kept user is worth, less cost.",
            _CURRENCY,
        ),
        Column("profit_low", "double precision", "Lower bound of profit.", _CURRENCY),
        Column("profit_high", "double precision", "Upper bound of profit.", _CURRENCY),
        Column(
            "contacted_users", "bigint", "Treated users of whom a treatment was reported.", _USERS
        ),
        Column(
            "contacted_control_users", "bigint", "Control users of whom one was: breaches.", _USERS
        ),
        Column(
            "unlabelled_users", "bigint", "Users on the list who are not among the labels.", _USERS
        ),
        UPDATED_AT,
    ),
    "",
)

PERFORMANCE = RetentionView(
    "performance",
    "One figure of one set of users of one scored month: what was to be expected, and what came.",
    ("month", "judged_on", "metric"),
    (
        MONTH,
        Column(
            "judged_on", "text", "`all` users, or the `hold-out`, of whom no model ever learned."
        ),
        Column(
            "metric",
            "text",
            "`auc`, `log_loss`, `brier`, `churn_rate` (share who leave) or `profit` (currency units per user).",
        ),
        Column(
            "users",
            "bigint",
            "Users it was measured on: once matured, those who have a label.",
            _USERS,
        ),
        Column(
            "estimated",
            "double precision",
            "What was to be expected before labels.",
            "the metric's",
        ),
        Column("estimated_low", "double precision", "Lower bound of estimated.", "the metric's"),
        Column("estimated_high", "double precision", "Upper bound of estimated.", "the metric's"),
        Column("realised", "double precision", "What came; null: not matured.", "the metric's"),
        Column("realised_low", "double precision", "Lower bound of realised.", "the metric's"),
        Column("realised_high", "double precision", "Upper bound of realised.", "the metric's"),
        Column("error", "double precision", "estimated less realised.", "the metric's"),
        Column("alarm", "text", "Why the figure is alarming; null: it is not."),
        Column("release_id", "text", "The release that scored the month."),
        UPDATED_AT,
    ),
    "",
)
