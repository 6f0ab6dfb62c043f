"""Group `training`: the training set of a month, which `churn.training` builds."""

import dagster as dg

from churn.contract.in_force import LABELS, VIEWS
from churn.months import Month
from churn.training.dataset import TrainingSet, build_training_set, schema
from churn.verification.differences import Differences
from churn.verification.replay import SAMPLE, replay
from churn_assets.monthly import (
    Check,
    MonthResult,
    MonthStep,
    Outcome,
    arrow_schema,
    monthly_asset,
    null_counts,
    preview,
    refuse_failed,
)

BOTH_CLASSES = Check("both_classes", "Some users left and some stayed.")
REPLAY = Check(
    "replay",
    f"{SAMPLE} rows recomputed from Postgres, by SQL that shares nothing with Feast, are equal value by "
    "value, and there are as many rows as labels of known users. Checked before the set is written.",
)

FILLED = Check(
    "filled",
    "No feature is unknown for every user; the month is trained on without such a column.",
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
    """The month's matured labels, joined point-in-time through Feast to features as they were known.

    Features are those known at as_of(M), labels those known at as_of(M+1); a later correction changes nothing
    here. There is one row per label, sorted by user_id; the fingerprint is that of the content.

    `replay` is checked before the set is written. A month that fails `both_classes` has its set all the same:
    no model is fitted on it, and the gate sees in the set why there is none.
    """
    outcomes: list[Outcome] = []

    def judge(training_set: TrainingSet) -> None:
        outcomes.extend(_outcomes(step.month, training_set))
        refuse_failed(outcomes, [REPLAY])

    training_set = build_training_set(step.month, judge=judge)
    rows = training_set.rows
    metadata = {
        "dagster/uri": training_set.path.as_uri(),
        "as_of": str(step.month.as_of_date),
        "labels_mature_at": step.month.matures_at.isoformat(),
        "churn_rate": _churned(training_set) / rows.num_rows,
        "labelled_but_unknown_users": training_set.unknown_users,
        "unknown_values": null_counts(rows),
        "preview": preview(rows),
    }
    return MonthResult(rows.num_rows, training_set.fingerprint, metadata, outcomes)


def _outcomes(month: Month, training_set: TrainingSet) -> list[Outcome]:
    churned, rows = _churned(training_set), training_set.rows.num_rows
    has_both = 0 < churned < rows
    replayed = replay(month, training_set.rows)
    figures = {
        "users_compared": replayed.users,
        "values_compared": replayed.values,
        "mismatches": replayed.mismatches,
    }
    blank = training_set.blank
    without = f"trained without {', '.join(blank)}: blank throughout as delivered"
    return [
        Outcome(
            BOTH_CLASSES.name,
            has_both,
            {"churned": churned, "rows": rows},
            None if has_both else _one_class(month, churned, rows),
        ),
        Outcome(
            REPLAY.name,
            replayed.none,
            figures,
            None if replayed.none else _not_replayed(month, replayed),
        ),
        Outcome(FILLED.name, not blank, {"blank": blank}, without if blank else None),
    ]


def _churned(training_set: TrainingSet) -> int:
    return sum(training_set.rows["churn_label"].to_pylist())


def _one_class(month: Month, churned: int, rows: int) -> str:
    return (
        f"{churned:,} of {rows:,} users left: a model needs some who left and some who stayed\n"
        f"  -> look at the column churn_label of {LABELS.shown_file} of {month}, and deliver it again;"
        " without it the months that follow are trained on all the same"
    )


def _not_replayed(month: Month, replayed: Differences) -> str:
    head = (
        f"{replayed.mismatches:,} of {replayed.values:,} values of {replayed.users:,} users are not those of"
        " Postgres"
    )
    remedy = f"  -> materialize the feature views of {month} again, then this"
    return "\n".join([head, *replayed.examples, remedy])
