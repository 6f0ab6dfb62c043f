import dagster as dg
import pytest

from churn.mlflow_client import mlflow_client
from churn.settings import Settings
from churn_assets.automation import run_endings
from churn_assets.monthly import MonthResult, MonthStep, monthly_asset
from churn_assets.resources import mlflow_resource

SENSORS = {sensor.name: sensor for sensor in run_endings()}


def make_month(step: MonthStep) -> MonthResult:
    """Make a month."""
    return MonthResult(1, "f")


def end(name: str, result: dg.ExecuteInProcessResult, instance: dg.DagsterInstance) -> None:
    context = dg.build_run_status_sensor_context(
        sensor_name=name,
        dagster_event=result.all_events[-1],
        dagster_instance=instance,
        dagster_run=result.dagster_run,
    )
    SENSORS[name](context)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("records_of_success", "FINISHED"),
        ("records_of_failure", "FAILED"),
        ("records_of_canceled", "FAILED"),
    ],
)
def test_the_record_of_a_run_ends_as_the_run_did(
    mlflow_settings: Settings, name: str, expected: str
) -> None:
    thing = monthly_asset("thing", make_month, group="raw", kinds={"python"})
    defs = dg.Definitions(
        assets=[thing], resources={"mlflow": mlflow_resource()}, executor=dg.in_process_executor
    )
    tracking = mlflow_client()
    with dg.DagsterInstance.ephemeral() as instance:
        job = defs.resolve_implicit_global_asset_job_def()
        result = job.execute_in_process(instance=instance, partition_key="2024-01-01")
        experiment = tracking.get_experiment_by_name(mlflow_settings.mlflow_experiment)
        assert experiment is not None
        runs = tracking.search_runs([experiment.experiment_id])
        [parent] = [r for r in runs if "mlflow.parentRunId" not in r.data.tags]
        assert parent.info.status == "RUNNING"  # not FINISHED before anybody knows how it ended
        killed = tracking.create_run(
            experiment.experiment_id, tags={"mlflow.parentRunId": parent.info.run_id}
        )
        end(name, result, instance)
    assert tracking.get_run(parent.info.run_id).info.status == expected
    assert tracking.get_run(killed.info.run_id).info.status == "FAILED"
    [child] = [r for r in runs if "mlflow.parentRunId" in r.data.tags]
    assert tracking.get_run(child.info.run_id).info.status == "FINISHED"


def test_every_way_to_end_has_a_sensor() -> None:
    assert set(SENSORS) == {"records_of_success", "records_of_failure", "records_of_canceled"}
