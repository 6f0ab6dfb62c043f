"""Group `feature_views`: one month of each Feast view in the lake, which is Feast's offline store."""

import dagster as dg

from churn.contract.in_force import VIEWS
from churn.contract.structure import View
from churn.lake.files import LakeMonth, write_view
from churn.months import Month
from churn.warehouse.snapshots import current_rows
from churn_assets.monthly import (
    Check,
    MonthResult,
    MonthStep,
    Outcome,
    Work,
    monthly_asset,
    null_counts,
    preview,
    refuse_failed,
    view_schema,
)

COMPLETE = Check(
    "matches_snapshot",
    "One row per user of the snapshot's newest version; checked before the month goes into the lake.",
)
FILLED = Check("filled", "No feature is unknown for every user.", blocking=False)


def feature_view_assets() -> list[dg.AssetsDefinition]:
    """Return one asset per feature view."""
    return [
        monthly_asset(
            view.name,
            _feature_view(view),
            group="feature_views",
            kinds={"feast", "parquet"},
            deps=[view.table.snapshot],
            checks=[COMPLETE, FILLED],
            metadata=view_schema(view),
            description=_description(view),
        )
        for view in VIEWS
    ]


def _description(view: View) -> str:
    features = "\n".join(f"- `{f.name}`: {f.description}" for f in view.features)
    return (
        f"Feast view over `{view.table.snapshot}`: plain Parquet in the lake, one file per month end, "
        f"read in place by Feast's offline store.\n\n{features}"
    )


def _feature_view(view: View) -> Work:
    def work(step: MonthStep) -> MonthResult:
        outcomes: list[Outcome] = []

        def judge(lake_month: LakeMonth) -> None:
            """Compare the rows with the snapshot before they go into the lake."""
            outcomes.extend(_outcomes(step.month, view, lake_month))
            refuse_failed(outcomes, [COMPLETE, FILLED])

        lake_month = write_view(step.month, view, judge)
        metadata = {
            "dagster/uri": lake_month.path.as_uri(),
            "unknown_values": null_counts(lake_month.table),
            "preview": preview(lake_month.table),
        }
        return MonthResult(lake_month.rows, lake_month.fingerprint, metadata, outcomes)

    return work


def _outcomes(month: Month, view: View, lake_month: LakeMonth) -> list[Outcome]:
    expected = current_rows(month, view.table)
    unknown = null_counts(lake_month.table)
    rows = lake_month.table.num_rows
    empty = [f.name for f in view.features if rows and unknown.get(f.name) == rows]
    few = (
        f"{lake_month.rows:,} rows for the lake, but {expected:,} in {view.table.snapshot} of {month}:"
        " materialize this again"
    )
    is_complete = lake_month.rows == expected
    figures = {"rows": lake_month.rows, "snapshot": expected}
    return [
        Outcome(COMPLETE.name, is_complete, figures, None if is_complete else few),
        Outcome(FILLED.name, not empty, {"unknown": unknown}, ", ".join(empty) or None),
    ]
