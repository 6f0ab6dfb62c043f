"""`python -m tests.kit.stuck_run`: a command that runs a month which never ends, in the pool `training`."""

import signal
import sys
from types import SimpleNamespace
from typing import Any

import dagster as dg

from churn.months import Month
from churn_assets import run as runs
from churn_assets.executor import one_process
from churn_assets.monthly import MONTHS

MONTH = Month.parse("2024-01")


def stuck_defs(*, endless: bool) -> dg.Definitions:
    """Return a graph of one asset in the pool; its month ends at once, or never."""

    @dg.asset(partitions_def=MONTHS, pool="training")
    def thing() -> None:
        while endless:
            signal.pause()

    return dg.Definitions(
        assets=[thing],
        jobs=[dg.define_asset_job("train_month", dg.AssetSelection.assets("thing"))],
        executor=one_process,
    )


if __name__ == "__main__":
    runs.close_records = lambda *_, **__: None  # this graph records nothing in MLflow
    graph: Any = SimpleNamespace(defs=stuck_defs(endless=True))
    sys.modules["churn_assets.definitions"] = graph  # the real one takes seconds to load
    with runs.instance() as dagster_instance:
        print(runs.run_job("train_month", MONTH, dagster_instance, tags={}), file=sys.stderr)  # noqa: T201  (it has ended)
