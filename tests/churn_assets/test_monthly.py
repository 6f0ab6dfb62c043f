from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg
import pytest

from churn.errors import ChurnError
from churn.mlflow_client import experiment_id, mlflow_client
from churn.records import DAGSTER_RUN_TAG, PARENT_TAG, close_records
from churn.settings import Settings
from churn.stack.record import PartRecord, StackRecord, locked
from churn_assets.event_texts import failures_and_checks
from churn_assets.monthly import (
    Check,
    CheckFailed,
    MonthResult,
    MonthStep,
    Outcome,
    monthly_asset,
    refuse_failed,
)
from churn_assets.resources import mlflow_resource

SOUND = Check("sound", "It is.")
WHOLE = Check("whole", "It is.")
ODD = Check("odd", "It is not.", blocking=False)
JANUARY, FEBRUARY, MARCH = "2024-01-01", "2024-02-01", "2024-03-01"


def make_month(step: MonthStep) -> MonthResult:
    """Make a month."""
    return MonthResult(step.month.first_day.month, "f" * 8, {}, [Outcome("sound", True)])


def run(
    work: Callable[[MonthStep], MonthResult],
    instance: dg.DagsterInstance,
    checks: Sequence[Check] = (SOUND,),
    **kwargs: Any,
) -> dg.ExecuteInProcessResult:
    thing = monthly_asset("thing", work, group="raw", kinds={"python"}, checks=checks)
    job = dg.Definitions(
        assets=[thing], resources={"mlflow": mlflow_resource()}, executor=dg.in_process_executor
    ).resolve_implicit_global_asset_job_def()
    return job.execute_in_process(instance=instance, raise_on_error=False, **kwargs)


@pytest.fixture
def instance() -> dg.DagsterInstance:
    return dg.DagsterInstance.ephemeral()


def records(settings: Settings) -> list[Any]:
    tracking = mlflow_client()
    experiment = tracking.get_experiment_by_name(settings.mlflow_experiment)
    return tracking.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])


def test_a_month_is_materialized_checked_and_recorded(
    mlflow_settings: Settings, instance: dg.DagsterInstance
) -> None:
    result = run(make_month, instance, partition_key=FEBRUARY)
    assert result.success
    close_records(result.run_id, succeeded=True)
    parent, child = records(mlflow_settings)
    assert parent.info.status == child.info.status == "FINISHED"
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert (child.data.tags["asset"], child.data.tags["partition"]) == ("thing", FEBRUARY)
    assert child.data.tags["check.sound"] == "passed"
    assert child.data.metrics["rows"] == 2
    [event] = instance.fetch_materializations(dg.AssetKey("thing"), limit=5).records
    assert event.asset_materialization.partition == FEBRUARY


def test_closing_a_failed_run_ends_what_is_open_and_nothing_else(
    mlflow_settings: Settings,
) -> None:
    tracking = mlflow_client()
    experiment = experiment_id(tracking, mlflow_settings.mlflow_experiment)

    def begun(name: str, **tags: str) -> str:
        created = tracking.create_run(experiment, run_name=name, tags=tags)
        return str(created.info.run_id)

    parent = begun("parent", **{DAGSTER_RUN_TAG: "one"})
    other = begun("other", **{DAGSTER_RUN_TAG: "another"})
    begun("killed", **{PARENT_TAG: parent})
    begun("of another", **{PARENT_TAG: other})
    model = begun("model", **{PARENT_TAG: parent, DAGSTER_RUN_TAG: "one"})
    tracking.set_terminated(model, "FINISHED")
    close_records("one", succeeded=False)
    assert {run.info.run_name: run.info.status for run in records(mlflow_settings)} == {
        "parent": "FAILED",
        "killed": "FAILED",
        "model": "FINISHED",
        "other": "RUNNING",
        "of another": "RUNNING",
    }


def test_each_month_of_a_single_run_has_its_own_figures(
    mlflow_settings: Settings, instance: dg.DagsterInstance
) -> None:
    tags = {
        "dagster/asset_partition_range_start": JANUARY,
        "dagster/asset_partition_range_end": MARCH,
    }
    assert run(make_month, instance, tags=tags).success
    materializations = instance.fetch_materializations(dg.AssetKey("thing"), limit=9).records
    rows = {
        r.asset_materialization.partition: r.asset_materialization.metadata[
            "dagster/partition_row_count"
        ].value
        for r in materializations
    }
    assert rows == {JANUARY: 1, FEBRUARY: 2, MARCH: 3}
    assert [r.data.tags.get("partition") for r in records(mlflow_settings)] == [
        None,
        JANUARY,
        FEBRUARY,
        MARCH,
    ]


def test_months_done_before_a_failure_stay(
    mlflow_settings: Settings, instance: dg.DagsterInstance
) -> None:
    def fails_in_march(step: MonthStep) -> MonthResult:
        if step.month.partition_key == MARCH:
            raise ChurnError("no drop", remedy="deliver it")
        return make_month(step)

    tags = {
        "dagster/asset_partition_range_start": JANUARY,
        "dagster/asset_partition_range_end": MARCH,
    }
    result = run(fails_in_march, instance, tags=tags)
    assert not result.success
    close_records(result.run_id, succeeded=False)
    assert instance.get_materialized_partitions(dg.AssetKey("thing")) == {JANUARY, FEBRUARY}
    statuses = [r.info.status for r in records(mlflow_settings)]
    assert statuses == ["FAILED", "FINISHED", "FINISHED", "FAILED"]


@pytest.mark.parametrize("fails", [1, 3, 4])
def test_a_failure_that_passes_is_tried_again_and_recorded_once(
    mlflow_settings: Settings, instance: dg.DagsterInstance, fails: int
) -> None:
    attempts = []

    def flaky(step: MonthStep) -> MonthResult:
        attempts.append(step.record_id)
        if len(attempts) <= fails:
            raise ChurnError("MLflow does not answer") from ConnectionResetError("reset by peer")
        return make_month(step)

    result = run(flaky, instance, partition_key=JANUARY)
    assert result.success is (fails <= 3)
    assert len(attempts) == min(fails + 1, 4)
    assert len(result.filter_events(lambda event: event.is_step_up_for_retry)) == min(fails, 3)
    assert len(instance.get_materialized_partitions(dg.AssetKey("thing"))) == result.success
    close_records(result.run_id, succeeded=result.success)
    statuses = [run.info.status for run in records(mlflow_settings)]
    assert statuses == (["FINISHED", "FINISHED"] if result.success else ["FAILED", "FAILED"])
    tags = records(mlflow_settings)[1].data.tags
    assert set(attempts) == {records(mlflow_settings)[1].info.run_id}
    assert ("error" in tags) is not result.success
    assert tags["attempts"] == str(len(attempts))


def test_a_step_is_not_tried_again_where_nobody_restarts_a_part(
    mlflow_settings: Settings, instance: dg.DagsterInstance
) -> None:
    home, attempts = mlflow_settings.home, []
    # No process has this number, since Linux has none above 2 ** 22.
    part = PartRecord(pid=2**22 + 1, started=0, temporary=True)
    StackRecord(parts={"mlflow": part}).write(home)

    def deserted(step: MonthStep) -> MonthResult:
        attempts.append(step.record_id)
        raise ConnectionRefusedError("nobody listens")

    with locked(home):
        result = run(deserted, instance, partition_key=JANUARY)
    failures, _ = failures_and_checks(result.all_events)
    assert len(attempts) == 1
    assert "mlflow died under the command that had started it: nobody listens" in failures[0]


def test_a_failure_that_stays_fails_at_once(
    mlflow_settings: Settings, instance: dg.DagsterInstance
) -> None:
    attempts = []

    def broken(step: MonthStep) -> MonthResult:
        attempts.append(1)
        raise KeyError("a bug")

    assert not run(broken, instance, partition_key=JANUARY).success
    assert attempts == [1]


def test_a_failed_check_is_recorded_and_nothing_is_materialized(
    mlflow_settings: Settings, instance: dg.DagsterInstance
) -> None:
    def refused(step: MonthStep) -> MonthResult:
        raise CheckFailed(Outcome("sound", False, {"rows": 3}, "three bad rows"))

    result = run(refused, instance, partition_key=JANUARY)
    assert not result.success
    assert not instance.get_materialized_partitions(dg.AssetKey("thing"))
    [evaluation] = result.get_asset_check_evaluations()
    assert not evaluation.passed
    assert evaluation.partition == JANUARY
    assert evaluation.description == "three bad rows"
    assert records(mlflow_settings)[1].info.status == "FAILED"


def test_what_is_judged_before_the_write_says_all_of_its_checks(
    mlflow_settings: Settings, instance: dg.DagsterInstance
) -> None:
    written = []

    def judged(step: MonthStep) -> MonthResult:
        outcomes = [
            Outcome("odd", False),
            Outcome("whole", True),
            Outcome("sound", False, {}, "no"),
        ]
        refuse_failed(outcomes, [SOUND, WHOLE])  # "odd" warns, and is none of them
        written.append(step.month)
        return MonthResult(1, "f", {}, outcomes)

    result = run(judged, instance, partition_key=JANUARY, checks=[SOUND, WHOLE, ODD])
    assert not result.success
    assert written == []
    assert not instance.get_materialized_partitions(dg.AssetKey("thing"))
    evaluations = {each.check_name: each for each in result.get_asset_check_evaluations()}
    assert {name: each.passed for name, each in evaluations.items()} == {
        "odd": False, "whole": True, "sound": False,
    }  # fmt: skip
    assert evaluations["odd"].severity == dg.AssetCheckSeverity.WARN
    tags = records(mlflow_settings)[1].data.tags
    assert [tags[f"check.{name}"] for name in ("odd", "whole", "sound")] == [
        "failed", "passed", "failed",
    ]  # fmt: skip


def test_a_blocking_check_that_fails_after_the_work_fails_the_run(
    mlflow_settings: Settings, instance: dg.DagsterInstance
) -> None:
    def unsound(step: MonthStep) -> MonthResult:
        return MonthResult(1, "f", {}, [Outcome("sound", False)])

    assert not run(unsound, instance, partition_key=JANUARY).success


@pytest.mark.parametrize("months", [[FEBRUARY], [JANUARY, FEBRUARY, MARCH]])
def test_each_check_belongs_to_the_materialization_of_its_month(
    mlflow_settings: Settings, instance: dg.DagsterInstance, months: list[str]
) -> None:
    tags = {
        "dagster/asset_partition_range_start": months[0],
        "dagster/asset_partition_range_end": months[-1],
    }
    only = {"partition_key": months[0]} if len(months) == 1 else {"tags": tags}
    for _ in range(2):  # the second time there is an older one
        assert run(make_month, instance, **only).success
    key = dg.AssetCheckKey(dg.AssetKey("thing"), "sound")
    infos = instance.event_log_storage.get_asset_check_partition_info([key])
    assert sorted(info.partition_key for info in infos if info.partition_key) == months
    # Or the UI shows nothing.
    assert all(info.is_current for info in infos if info.partition_key)
