"""The job `backtest_month`: nothing in the first month, then a row per model and month."""

import dagster as dg
import pytest

from churn.mlflow_client import mlflow_client
from churn.model.backtest import kept_rows
from churn.months import Month
from churn_assets.definitions import build_defs
from tests.kit.training_sets import JANUARY, put_all

FEBRUARY, MARCH = JANUARY.shift(1), JANUARY.shift(2)


@pytest.fixture
def instance(mlflow_settings) -> dg.DagsterInstance:
    put_all(600, 3)
    return dg.DagsterInstance.ephemeral()


def backtested(instance: dg.DagsterInstance, month: Month) -> dict[str, object]:
    job = build_defs().resolve_job_def("backtest_month")
    result = job.execute_in_process(partition_key=month.partition_key, instance=instance)
    assert result.success
    [event] = result.get_asset_materialization_events()
    materialization = event.step_materialization_data.materialization
    return {name: each.value for name, each in materialization.metadata.items()}


def test_each_month_adds_its_rows(instance: dg.DagsterInstance) -> None:
    first = backtested(instance, JANUARY)
    assert first["dagster/partition_row_count"] == 0
    assert str(first["says"]).startswith("nothing before it")
    assert kept_rows(MARCH) == []

    backtested(instance, FEBRUARY)
    third = backtested(instance, MARCH)
    assert third["dagster/partition_row_count"] == 3
    assert third["months"] == 2
    table = str(third["backtest"])
    assert [table.count(f"| {month} | ") for month in (FEBRUARY, MARCH)] == [5, 3]
    assert "data:image/png;base64," in str(third["plot"])
    assert len(kept_rows(MARCH)) == 6

    client = mlflow_client()
    runs = client.search_runs(
        [e.experiment_id for e in client.search_experiments()],
        "tags.asset = 'backtest' and tags.`partition` = '2024-03-01'",
    )
    [files] = [{f.path for f in client.list_artifacts(run.info.run_id)} for run in runs]
    assert files == {"backtest.png", "backtest.md", "backtest.json"}


def test_a_month_that_cannot_judge_fails_and_says_what_to_do(instance: dg.DagsterInstance) -> None:
    job = build_defs().resolve_job_def("backtest_month")
    result = job.execute_in_process(
        partition_key="2024-04-01", instance=instance, raise_on_error=False
    )
    assert not result.success
    [failure] = result.get_step_failure_events()
    assert "materialize training_dataset for 2024-04-01" in str(failure.step_failure_data.error)
