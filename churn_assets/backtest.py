"""Group `model`: the backtest, a month at a time."""

import base64

import dagster as dg

from churn.mlflow_client import mlflow_client
from churn.model.backtest import backtest as run_backtest
from churn.model.backtest_records import keep_rows, kept_rows
from churn.model.backtest_report import (
    backtest_fingerprint,
    backtest_json,
    backtest_png,
    backtest_table,
)
from churn.model.tracking import log_files
from churn_assets.monthly import MonthResult, MonthStep, monthly_asset

NOTHING_BEFORE = "nothing before it: the first month is judged by no window"
_LONGEST = 240  # months: the mapping wants a number, the windows have no end


def backtest_assets() -> list[dg.AssetsDefinition]:
    """Return the backtest's asset."""
    so_far = dg.TimeWindowPartitionMapping(
        start_offset=-_LONGEST, end_offset=0, allow_nonexistent_upstream_partitions=True
    )
    return [
        monthly_asset(
            "backtest",
            backtest,
            group="model",
            kinds={"scikitlearn", "postgres"},
            deps=[dg.AssetDep("training_dataset", partition_mapping=so_far)],
            pool="training",
        )
    ]


def backtest(step: MonthStep) -> MonthResult:
    """Models of the months before this one, judged on this month's hold-out users.

    Trained on the month before, and on all months so far (at most 100,000 rows, by a hash of user_id);
    the users who judge are never trained on, in any month. Each month adds its rows to
    `monitoring.backtests`; the table and the plot show every month so far, with 95 % intervals by bootstrap.
    """
    rows = run_backtest(step.month)
    keep_rows(step.month, rows)
    so_far = kept_rows(step.month)
    fingerprint = backtest_fingerprint(rows)
    if not so_far:
        return MonthResult(0, fingerprint, {"says": NOTHING_BEFORE})
    picture = backtest_png(so_far)
    table = backtest_table(so_far)
    files = {"backtest.md": table, "backtest.json": backtest_json(so_far)}
    encoded = {name: text.encode() for name, text in files.items()}
    log_files(mlflow_client(), step.record_id, {"backtest.png": picture, **encoded})
    shown = base64.b64encode(picture).decode()
    metadata = {
        "says": f"{len(rows)} models judged" if rows else NOTHING_BEFORE,
        "months": len({row.month for row in so_far}),
        "backtest": dg.MetadataValue.md(table),
        "plot": dg.MetadataValue.md(f"![backtest](data:image/png;base64,{shown})"),
    }
    return MonthResult(len(rows), fingerprint, metadata)
