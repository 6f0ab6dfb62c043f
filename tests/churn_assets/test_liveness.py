"""Runs whose process died, and those that wait for them: real processes, killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import psycopg
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._utils.interrupts import capture_interrupts

from churn import records
from churn.database import connect
from churn.errors import ChurnError
from churn.mlflow_client import mlflow_client
from churn.retry import is_passing
from churn.settings import Settings, get_settings
from churn.stack.parts import repository_file
from churn.stack.postgres import EmbeddedPostgres
from churn.stack.processes import free_port
from churn_assets import liveness
from churn_assets import run as runs
from churn_assets.executor import holders
from churn_assets.liveness import alive, dead_runs, end_dead_runs, process_tag
from tests.kit.stuck_run import MONTH, stuck_defs
from tests.kit.waiting import until

PATIENCE = 300  # seconds, to end a hang
RUN_ID = "01234567-89ab-4def-8123-456789abcdef"
JOB = stuck_defs(endless=False).resolve_job_def("train_month")


@pytest.fixture(scope="module")
def instance(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dg.DagsterInstance]:
    """The instance of the repository's dagster.yaml, in databases of this file's own."""
    home = tmp_path_factory.mktemp("dagster")
    text = repository_file("dagster.yaml").read_text()
    (home / "dagster.yaml").write_text(text.replace("db_name: dagster", "db_name: dead_dagster"))
    told = {**postgres.environment, "CHURN_HOME": str(home), "POSTGRES_DB": "dead_runs"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**told, "DAGSTER_HOME": str(home)}.items():
            patch.setenv(name, value)
        for module in (runs, liveness):
            patch.setattr(module, "close_records", lambda *_, **__: None)
        get_settings.cache_clear()
        with psycopg.connect(get_settings().dsn("postgres"), autocommit=True) as connection:
            for name in ("dead_runs", "dead_dagster"):
                connection.execute(f"CREATE DATABASE {name}")
        runs.keep_connections.cache_clear()
        with runs.instance() as dagster_instance:
            yield dagster_instance
    runs.keep_connections.cache_clear()
    get_settings.cache_clear()


@pytest.fixture(autouse=True)
def nothing_under_way(instance: dg.DagsterInstance) -> Iterator[None]:
    get_settings.cache_clear()
    yield
    for run in instance.get_runs():
        instance.delete_run(run.run_id)


@contextmanager
def command() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.kit.stuck_run"],
        cwd=Path(__file__).parents[2],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def begun(instance: dg.DagsterInstance, **more: Any) -> dg.DagsterRun:
    """Record a run as begun by a process that has gone."""
    return instance.create_run_for_job(
        JOB, run_id=RUN_ID, tags=process_tag(RUN_ID), **{"status": dg.DagsterRunStatus.STARTED, **more}
    )  # fmt: skip


def status(instance: dg.DagsterInstance, run_id: str = RUN_ID) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


@pytest.mark.services  # two commands, each of which loads Dagster
def test_the_next_run_ends_the_one_that_was_killed_and_goes_on(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = instance.event_log_storage
    with command() as first:
        until(lambda: bool(storage.get_concurrency_run_ids()) or first.poll() is not None, PATIENCE)
        assert first.poll() is None, first.stderr.read() if first.stderr else ""
        [dead] = storage.get_concurrency_run_ids()
        assert end_dead_runs(instance, grace_seconds=0) == []  # it lives
        with command() as second:
            assert second.stderr is not None
            told = next(line for line in second.stderr if "waits for" in line)
            assert f"train_month 2024-01-01 (run {dead[:8]}) has its place" in told
            assert f"process {first.pid} on" in told
            second.send_signal(signal.SIGTERM)
            assert second.wait(PATIENCE) != 0
        assert status(instance, dead) == dg.DagsterRunStatus.STARTED
        first.kill()
    monkeypatch.setattr("churn_assets.executor.SAY_AFTER_SECONDS", 0.0)
    monkeypatch.setattr(liveness, "GRACE_SECONDS", 0.2)
    graph = SimpleNamespace(defs=stuck_defs(endless=False))
    monkeypatch.setitem(sys.modules, "churn_assets.definitions", graph)
    result = runs.run_job("train_month", MONTH, instance, tags={})
    assert result.succeeded
    again = instance.get_run_by_id(result.run_id)
    assert again is not None
    assert (
        again.tags[".dagster/repository"] == "__repository__@churn"
    )  # the UI may execute it again
    assert status(instance, dead) == dg.DagsterRunStatus.FAILURE
    [failure] = instance.all_logs(dead, of_type=dg.DagsterEventType.RUN_FAILURE)
    assert f"process {first.pid} on" in failure.message
    assert storage.get_concurrency_run_ids() == set()
    assert instance.get_runs_count(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])) == 0


def test_a_dead_run_gives_back_its_place_in_the_pool(instance: dg.DagsterInstance) -> None:
    begun(instance)
    storage = instance.event_log_storage
    storage.set_concurrency_slots("training", 1)
    assert storage.claim_concurrency_slot("training", RUN_ID, "thing").is_claimed
    [line] = holders(instance, "training")
    assert line.startswith(f"the pool training: train_month (run {RUN_ID[:8]}) has its place")
    assert end_dead_runs(instance, grace_seconds=0) == [f"train_month (run {RUN_ID[:8]})"]
    assert status(instance) == dg.DagsterRunStatus.FAILURE
    assert storage.get_concurrency_run_ids() == set()
    assert end_dead_runs(instance, grace_seconds=0) == []


def test_a_run_that_ended_without_giving_back_its_place_is_helped(
    instance: dg.DagsterInstance,
) -> None:
    begun(instance)
    storage = instance.event_log_storage
    storage.set_concurrency_slots("training", 1)
    storage.claim_concurrency_slot("training", RUN_ID, "thing")
    run = instance.get_run_by_id(RUN_ID)
    assert run is not None
    instance.report_run_failed(run, "Dagster's own watch saw the worker die")
    assert storage.get_concurrency_run_ids() == {RUN_ID}
    with alive(RUN_ID, lambda: False):
        end_dead_runs(instance, grace_seconds=0)  # its process may still be in the step
        assert storage.get_concurrency_run_ids() == {RUN_ID}
    end_dead_runs(instance, grace_seconds=0)
    assert storage.get_concurrency_run_ids() == set()


def test_a_run_that_has_its_lock_again_in_time_lives(instance: dg.DagsterInstance) -> None:
    begun(instance)
    looks: list[list[str]] = []
    unheld = liveness._unheld
    with pytest.MonkeyPatch.context() as patch:

        def back_after_two_looks(*asked: Any) -> list[str]:
            looks.append(unheld(*asked))
            return looks[-1] if len(looks) < 3 else []

        patch.setattr(liveness, "_unheld", back_after_two_looks)
        assert end_dead_runs(instance, grace_seconds=PATIENCE) == []
    assert looks[0] == [RUN_ID]
    assert status(instance) == dg.DagsterRunStatus.STARTED


def test_a_dead_run_that_was_asked_to_end_is_canceled(instance: dg.DagsterInstance) -> None:
    begun(instance, status=dg.DagsterRunStatus.CANCELING)
    assert len(end_dead_runs(instance, grace_seconds=0)) == 1
    assert status(instance) == dg.DagsterRunStatus.CANCELED


def test_what_a_former_code_server_launched_never_begins(instance: dg.DagsterInstance) -> None:
    run = instance.create_run_for_job(JOB, run_id=RUN_ID)
    event = dg.DagsterEvent("PIPELINE_STARTING", job_name=run.job_name)
    instance.report_dagster_event(event, run.run_id)
    launched = instance.get_run_stats(run.run_id).launch_time
    assert launched is not None
    assert end_dead_runs(instance, grace_seconds=0, server_started=launched - 1) == []
    assert len(end_dead_runs(instance, grace_seconds=0, server_started=launched + 1)) == 1


def test_a_re_execution_is_not_judged_by_the_tag_of_its_parent(
    instance: dg.DagsterInstance,
) -> None:
    begun(instance, status=dg.DagsterRunStatus.FAILURE)
    statuses = (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING)
    waiting = [
        instance.create_run_for_job(
            JOB, status=each, tags=process_tag(RUN_ID), remote_job_origin=runs._origin(JOB.name)
        ).run_id
        for each in statuses
    ]
    assert end_dead_runs(instance, grace_seconds=0) == []
    assert tuple(status(instance, run_id) for run_id in waiting) == statuses


def test_the_sensor_of_the_stack_ends_them_within_a_minute(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert dead_runs.default_status == dg.DefaultSensorStatus.RUNNING
    assert (dead_runs.minimum_interval_seconds or 30) + liveness.GRACE_SECONDS < 60
    monkeypatch.setattr(liveness, "GRACE_SECONDS", 0.0)
    begun(instance)
    with dg.build_sensor_context(instance=instance) as context:
        skipped = dead_runs(context)
    assert isinstance(skipped, dg.SkipReason)
    assert skipped.skip_message == f"ended: train_month (run {RUN_ID[:8]})"
    assert status(instance) == dg.DagsterRunStatus.FAILURE


def test_a_run_whose_connection_was_cut_has_its_lock_again(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "_BEAT_SECONDS", 0.05)
    interrupted: list[int] = []
    over: list[bool] = []
    answered: list[bool] = []

    def is_over() -> bool:
        answered.append(bool(over))
        return answered[-1]

    before = signal.signal(signal.SIGINT, lambda number, _: interrupted.append(number))
    try:
        with alive(RUN_ID, is_over):
            [first] = backends_with_a_lock()
            cut(first)
            until(lambda: backends_with_a_lock() not in ([], [first]), PATIENCE)
            until(lambda: bool(answered), PATIENCE)  # it asks when it has the lock again
            assert (answered, interrupted) == ([False], [])
            over.append(True)  # somebody records its end while the lock is lost
            cut(*backends_with_a_lock())
            until(lambda: bool(interrupted), PATIENCE)
    finally:
        signal.signal(signal.SIGINT, before)
    assert interrupted == [signal.SIGINT]
    # A backend ends a moment after its client.
    until(lambda: backends_with_a_lock() == [], PATIENCE)


def test_who_waits_for_a_run_s_lock_hears_that_it_is_to_end(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(get_settings().dsn(), autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(hashtextextended('churn.run.' || %s, 0))", [RUN_ID])
        with capture_interrupts():  # as while Dagster executes a run
            os.kill(os.getpid(), signal.SIGINT)
            with pytest.raises(DagsterExecutionInterruptedError), alive(RUN_ID, lambda: False):
                pass
        monkeypatch.setattr(liveness, "_LOCK_SECONDS", 0.0)
        with pytest.raises(ChurnError, match="it executes the same run"), alive(RUN_ID, bool):
            pass
    # A backend ends a moment after its client.
    until(lambda: backends_with_a_lock() == [], PATIENCE)


def test_a_postgres_that_does_not_answer_is_said_in_our_words(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTGRES_PORT", str(free_port()))
    get_settings.cache_clear()
    with pytest.raises(ChurnError, match="start the stack with `churn up`") as caught:
        end_dead_runs(instance, grace_seconds=0)
    assert is_passing(caught.value)


def backends_with_a_lock() -> list[int]:
    with connect() as connection:
        rows = connection.execute(
            "SELECT pid FROM pg_locks JOIN pg_database ON oid = database"
            " WHERE locktype = 'advisory' AND datname = current_database()"
        )
        return [row[0] for row in rows]


def cut(*pids: int) -> None:
    with connect() as connection:
        for pid in pids:
            connection.execute("SELECT pg_terminate_backend(%s)", [pid])


def test_its_records_in_mlflow_end_as_failed(
    instance: dg.DagsterInstance, mlflow_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "close_records", records.close_records)
    begun(instance)
    tracking = mlflow_client()
    experiment = tracking.create_experiment(mlflow_settings.mlflow_experiment)
    parent = tracking.create_run(experiment, tags={"dagster_run_id": RUN_ID})
    end_dead_runs(instance, grace_seconds=0)
    assert tracking.get_run(parent.info.run_id).info.status == "FAILED"
