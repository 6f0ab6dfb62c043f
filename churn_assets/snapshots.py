"""Group `snapshots`: the six snapshot tables, every version of every month."""

import dagster as dg

from churn.contract.tables import TABLES, Table
from churn.raw import newest_rows
from churn.snapshots import build_snapshot
from churn_assets.describe import table_schema
from churn_assets.monthly import Check, MonthResult, MonthStep, Outcome, Work, monthly_asset

COMPLETE = Check(
    "matches_raw", "The newest version has exactly the users of the newest accepted file."
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
        f"Every version of {table.file}, one row per (user_id, as_of, known_at).\n\n"
        "A correction adds a version and never overwrites one; a user whom it no longer names gets a row "
        f"with `is_withdrawn`. The view `{table.snapshot}_current` shows the newest version of each month."
    )


def _snapshot(table: Table) -> Work:
    def work(step: MonthStep) -> MonthResult:
        made = build_snapshot(step.month, table)
        expected = newest_rows(step.month, table)
        outcome = Outcome(
            COMPLETE.name,
            made.rows == expected,
            {"rows": made.rows, "raw_rows": expected, "withdrawn": made.withdrawn},
            None
            if made.rows == expected
            else f"{made.rows:,} rows of {step.month}, but {expected:,} in {table.name}: materialize"
            f" {table.name} of this month, then this",
        )
        metadata = {
            "as_of": str(step.month.as_of_date),
            "versions": len(made.versions),
            "known_at": made.versions[-1].isoformat(),
            "withdrawn_users": made.withdrawn,
        }
        return MonthResult(made.rows, made.fingerprint, metadata, [outcome])

    return work
