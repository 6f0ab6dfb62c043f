"""Group `snapshots`: the snapshot tables, which hold every version of every month."""

import dagster as dg

from churn.contract.in_force import TABLES
from churn.contract.structure import Table
from churn.months import Month
from churn.warehouse.snapshots import SnapshotMonth, build_snapshot
from churn_assets.monthly import (
    Check,
    MonthResult,
    MonthStep,
    Outcome,
    Work,
    monthly_asset,
    refuse_failed,
    table_schema,
)

COMPLETE = Check(
    "matches_raw",
    "The newest version has exactly the users of the newest accepted file; checked before the month is"
    " committed.",
)


def snapshot_assets() -> list[dg.AssetsDefinition]:
    """Return one asset per snapshot table."""
    return [
        monthly_asset(
            table.snapshot,
            _snapshot(table),
            group="snapshots",
            kinds={"postgres"},
            deps=[table.name],
            checks=[COMPLETE],
            metadata=table_schema(table, versioned=True),
            description=_description(table),
        )
        for table in TABLES
    ]


def _description(table: Table) -> str:
    return (
        f"Every version of {table.shown_file}, one row per (user_id, as_of, known_at).\n\n"
        "A correction adds a version and never overwrites one; a user whom it no longer names gets a row "
        f"with `is_withdrawn`. The view `{table.snapshot}_current` shows the newest version of each month."
    )


def _snapshot(table: Table) -> Work:
    def work(step: MonthStep) -> MonthResult:
        outcomes: list[Outcome] = []

        def judge(snapshot: SnapshotMonth) -> None:
            """Compare the month with the raw table before it is committed."""
            outcomes.append(_matches_raw(step.month, table, snapshot))
            refuse_failed(outcomes, [COMPLETE])

        snapshot = build_snapshot(step.month, table, judge)
        metadata = {
            "as_of": str(step.month.as_of_date),
            "versions": len(snapshot.versions),
            "known_at": snapshot.versions[-1].isoformat() if snapshot.versions else "",
            "withdrawn_users": snapshot.withdrawn,
        }
        return MonthResult(snapshot.rows, snapshot.fingerprint, metadata, outcomes)

    return work


def _matches_raw(month: Month, table: Table, snapshot: SnapshotMonth) -> Outcome:
    few = (
        f"{snapshot.rows:,} rows of {month}, but {snapshot.raw_rows:,} in {table.name}: materialize"
        f" {table.name} of this month, then this"
    )
    figures = {
        "rows": snapshot.rows,
        "raw_rows": snapshot.raw_rows,
        "withdrawn": snapshot.withdrawn,
    }
    is_complete = snapshot.rows == snapshot.raw_rows
    return Outcome(COMPLETE.name, is_complete, figures, None if is_complete else few)
