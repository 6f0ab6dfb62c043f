"""Group `feature_views`: each Feast view's month in the lake, the offline store."""

import dagster as dg

from churn.contract.features import VIEWS, View
from churn.lake import write_view
from churn.snapshots import current_rows
from churn_assets.describe import null_counts, preview, view_schema
from churn_assets.monthly import Check, MonthResult, MonthStep, Outcome, Work, monthly_asset

COMPLETE = Check("matches_snapshot", "One row per user of the snapshot's newest version.")
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
        made = write_view(step.month, view)
        expected = current_rows(step.month, view.table)
        unknown = null_counts(made.table)
        empty = [f.name for f in view.features if unknown.get(f.name) == made.table.num_rows]
        outcomes = [
            Outcome(
                COMPLETE.name,
                made.rows == expected,
                {"rows": made.rows, "snapshot": expected},
                None
                if made.rows == expected
                else f"{made.rows:,} rows in the lake, but {expected:,} in {view.table.snapshot} of"
                f" {step.month}: materialize this again",
            ),
            Outcome(FILLED.name, not empty, {"unknown": unknown}, ", ".join(empty) or None),
        ]
        metadata = {
            "dagster/uri": made.path.as_uri(),
            "unknown_values": unknown,
            "preview": preview(made.table),
        }
        return MonthResult(made.rows, made.fingerprint, metadata, outcomes)

    return work
