"""Group `training`: the training set of a month."""

import dagster as dg

from churn.contract.features import VIEWS
from churn.contract.tables import LABELS
from churn.months import Month
from churn.training.dataset import build_training_set, schema
from churn.verification.differences import Differences
from churn.verification.replay import SAMPLE, replay
from churn_assets.describe import arrow_schema, null_counts, preview
from churn_assets.monthly import Check, MonthResult, MonthStep, Outcome, monthly_asset

BOTH_CLASSES = Check("both_classes", "Some users left and some stayed.")
REPLAY = Check(
    "replay",
    f"{SAMPLE} rows recomputed from Postgres, by SQL that shares nothing with Feast, are equal value "
    "by value; and there are as many rows as labels of known users.",
)

FILLED = Check(
    "filled",
    "No feature is unknown for every user: the month trains without such a column, as it was delivered.",
    blocking=False,
)


def training_assets() -> list[dg.AssetsDefinition]:
    """Return the training set's asset."""
    return [
        monthly_asset(
            "training_dataset",
            training_dataset,
            group="training",
            kinds={"feast", "parquet"},
            deps=[LABELS.snapshot, *(view.name for view in VIEWS)],
            checks=[BOTH_CLASSES, REPLAY, FILLED],
            metadata=arrow_schema(schema()),
        )
    ]


def training_dataset(step: MonthStep) -> MonthResult:
    """The month's matured labels joined point-in-time, through Feast, to features as they were known.

    Features as known at as_of(M), labels as known at as_of(M+1); a correction that came later changes
    nothing here. One row per label, sorted by user_id; the fingerprint is of the content.
    """
    made = build_training_set(step.month)
    churned = sum(made.rows["churn_label"].to_pylist())
    both = 0 < churned < made.rows.num_rows
    outcome = Outcome(
        BOTH_CLASSES.name,
        both,
        {"churned": churned, "rows": made.rows.num_rows},
        None if both else _one_class(step.month, churned, made.rows.num_rows),
    )
    replayed = replay(step.month, made.rows)
    replay_outcome = Outcome(
        REPLAY.name,
        replayed.none,
        {
            "users_compared": replayed.users,
            "values_compared": replayed.values,
            "mismatches": replayed.mismatches,
        },
        None if replayed.none else _not_replayed(step.month, replayed),
    )
    blank_outcome = Outcome(
        FILLED.name,
        not made.blank,
        {"blank": made.blank},
        f"trained without {', '.join(made.blank)}: blank throughout as delivered"
        if made.blank
        else None,
    )
    metadata = {
        "dagster/uri": made.path.as_uri(),
        "as_of": str(step.month.as_of_date),
        "labels_mature_at": step.month.matures_at.isoformat(),
        "churn_rate": churned / made.rows.num_rows,
        "labelled_but_unknown_users": made.unknown_users,
        "unknown_values": null_counts(made.rows),
        "preview": preview(made.rows),
    }
    return MonthResult(
        made.rows.num_rows, made.fingerprint, metadata, [outcome, replay_outcome, blank_outcome]
    )


def _one_class(month: Month, churned: int, rows: int) -> str:
    return (
        f"{churned:,} of {rows:,} users left: a model needs some who left and some who stayed\n"
        f"  -> look at the column churn_label of {LABELS.file} of {month}, and deliver it again; without it"
        " the months that follow are trained on all the same"
    )


def _not_replayed(month: Month, replayed: Differences) -> str:
    head = (
        f"{replayed.mismatches:,} of {replayed.values:,} values of {replayed.users:,} users are not those of"
        " Postgres"
    )
    remedy = f"  -> materialize the feature views of {month} again, then this"
    return "\n".join([head, *replayed.examples, remedy])
