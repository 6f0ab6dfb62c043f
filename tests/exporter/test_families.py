"""Every figure, read as the exporter's own role out of records that the product has written."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import psycopg
import pytest
from prometheus_client.metrics_core import Metric

from churn.exporter import families
from churn.exporter.app import exposition
from churn.exporter.families import Family
from churn.exporter.pipeline import in_force_since
from churn.settings import get_settings
from tests.exporter.conftest import World, parsed
from tests.kit.exporter_world import APRIL, BEAT_AT, FAILED_AT, MARCH, NOW, RELEASE, as_exporter
from tests.kit.releases import draft, release, written
from tests.kit.small_drop import FEBRUARY, JANUARY

DECLARED = {each.name: each for each in vars(families).values() if isinstance(each, Family)}
USERS = ("a", "b", "c")  # of the small drop


@contextmanager
def new_database(name: str) -> Iterator[None]:
    """Let the settings be those of a database in which nothing has happened yet."""
    with psycopg.connect(get_settings().dsn("postgres"), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name}")
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template_churn")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POSTGRES_DB", name)
        get_settings.cache_clear()
        yield
    get_settings.cache_clear()


def exposed_name(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name


def test_every_declared_metric_is_exposed_and_has_something_to_say(world: World) -> None:
    exposed = {exposed_name(family): family for family in world.families.values()}
    assert exposed.keys() == DECLARED.keys()
    assert [name for name, family in exposed.items() if not family.samples] == []
    for name, family in exposed.items():
        assert family.documentation == DECLARED[name].text


def test_names_follow_the_conventions(world: World) -> None:
    for family in world.families.values():
        name = exposed_name(family)
        assert name.startswith("churn_")
        assert name.endswith("_total") is (family.type == "counter")
        is_time = family.documentation.startswith(("End of", "When", "Since when"))
        assert name.endswith("_timestamp_seconds") or not is_time, name


def test_no_label_names_a_user(world: World) -> None:
    values = {
        value
        for family in world.families.values()
        for sample in family.samples
        for value in sample.labels.values()
    }
    assert values
    assert not values & set(USERS)


def test_the_months(world: World) -> None:
    for name, month in (
        ("churn_due_month_timestamp_seconds", APRIL),
        ("churn_delivered_month_timestamp_seconds", MARCH),
        ("churn_closed_month_timestamp_seconds", FEBRUARY),
        ("churn_online_month_timestamp_seconds", FEBRUARY),
        ("churn_scored_month_timestamp_seconds", FEBRUARY),
        ("churn_decided_month_timestamp_seconds", FEBRUARY),
    ):
        assert world.value(name) == pytest.approx(month.as_of.timestamp()), name
    assert world.value("churn_months_overdue") == 2
    assert world.value("churn_online_users") == len(USERS)
    published = world.value("churn_online_published_timestamp_seconds")
    assert published == pytest.approx(world.value("churn_look_timestamp_seconds"), abs=3600)


def test_a_month_that_failed_and_what_waits_for_it(world: World) -> None:
    name = "churn_month_behind_since_timestamp_seconds"
    behind = {tuple(labels.values()) for labels in world.labels(name)}
    assert ("2024-02", "month_close", "given up") in behind
    failed = world.value(name, month="2024-02", stage="month_close", state="given up")
    assert failed == FAILED_AT.timestamp()


def test_the_drops(world: World) -> None:
    assert world.value("churn_deliveries_total", file="users") == 3
    assert world.value("churn_drops_refused") == 1
    assert world.value("churn_drops_waiting") == 0
    since = "churn_drop_refused_since_timestamp_seconds"
    assert world.value(since, month="2024-04") == NOW.timestamp()
    assert world.value("churn_drops_late") == 1
    late = world.value("churn_drop_late_since_timestamp_seconds", month="2024-04")
    assert late == pytest.approx(APRIL.as_of.timestamp())


def test_the_release_and_what_it_is_worth(world: World) -> None:
    told = {"release": RELEASE.short_id, "version": "1", "service": "churn_rich"}
    assert world.value("churn_release_info", **told, candidate="forest") == 1
    assert world.value("churn_release_month_timestamp_seconds") == pytest.approx(
        JANUARY.as_of.timestamp()
    )
    assert world.value("churn_ledger_entries_total", kind="decision", outcome="promote") == 1
    auc = {"users": "hold-out", "metric": "auc"}
    assert world.value("churn_performance_estimated", **auc, bound="value") == 0.84
    assert world.value("churn_performance_realised", **auc, bound="high") == 0.66
    assert world.value("churn_performance_floor", metric="auc") == get_settings().gate.auc_floor
    assert world.value("churn_performance_alarms") == 1
    for kind, month in (("estimated", MARCH), ("realised", FEBRUARY)):
        ends = world.value(f"churn_performance_{kind}_month_timestamp_seconds")
        assert ends == pytest.approx(month.as_of.timestamp())


def test_drift_and_the_action_list(world: World) -> None:
    assert world.value("churn_drift_columns") == 2
    assert world.value("churn_drift_columns_over_threshold") == 1
    assert world.value("churn_drift_distance", column="monthly_fee") == 0.3
    assert world.value("churn_drift_threshold", column="monthly_fee") == 0.1
    assert world.value("churn_action_list_users", group="treated") == 2
    assert world.value("churn_action_list_users", group="control") == 1


def test_runs_and_heartbeats_are_what_dagster_says(world: World) -> None:
    """Dagster's tables are read; here they are held against its own interface."""
    records = world.instance.get_run_records()
    assert len(records) == 4
    for job, status, outcome in (
        ("month_close", dg.DagsterRunStatus.SUCCESS, "success"),
        ("train_month", dg.DagsterRunStatus.FAILURE, "failure"),
    ):
        ended = [
            record
            for record in records
            if record.dagster_run.job_name == job and record.dagster_run.status == status
        ]
        labels = {"job": job, "outcome": outcome}
        seconds = [(r.end_time or 0) - (r.start_time or 0) for r in ended]
        assert world.value("churn_runs_total", **labels) == len(ended)
        assert world.value("churn_run_duration_seconds_count", **labels) == len(ended)
        total = world.value("churn_run_duration_seconds_sum", **labels)
        assert total == pytest.approx(sum(seconds), abs=1e-3)
        last = world.value("churn_run_end_timestamp_seconds", **labels)
        assert last == pytest.approx(max(r.end_time or 0 for r in ended))
    assert world.value("churn_runs_under_way", job="month_close") == 1
    [(daemon, status)] = [
        (daemon, status)
        for daemon, status in world.instance.get_daemon_statuses().items()
        if status.last_heartbeat
    ]
    beat = world.value("churn_daemon_heartbeat_timestamp_seconds", daemon=daemon.lower())
    assert status.last_heartbeat
    assert beat == status.last_heartbeat.timestamp == BEAT_AT.timestamp()


def test_without_a_release_or_a_month_names_are_there_and_figures_are_not(
    world: World,
) -> None:
    """A new system: an alert on what is absent has a name to ask for."""
    with new_database("watched_empty"):
        empty = parsed(exposition(NOW))
    assert empty.keys() == world.families.keys()
    assert empty["churn_pipeline_up"].samples[0].value == 1
    assert empty["churn_months_overdue"].samples[0].value == 4
    assert empty["churn_online_month_timestamp_seconds"].samples == []
    assert empty["churn_performance_alarms"].samples == []


@pytest.mark.usefixtures("world")
def test_a_release_that_came_back_is_in_force_since_then() -> None:
    """Of several spells in force it is the last one that counts."""
    other = release("two")
    with new_database("watched_ledger"):
        first, again, kept, back = written(
            draft(None, other.release_id, kind="promotion by hand"),
            draft(None, other.release_id, kind="promotion by hand"),
            draft(None, other.release_id, kind="promotion by hand", outcome="keep"),
            draft(None, RELEASE.release_id, kind="rollback", outcome="restore"),
            kept=(other,),
        )
    assert in_force_since([first, again, kept], other.release_id) == first.recorded_at
    assert in_force_since([first, kept, back], RELEASE.release_id) == back.recorded_at
    assert in_force_since([first, kept, back], other.release_id) is None


@pytest.mark.usefixtures("world")
def test_a_password_that_is_refused_gives_no_figures(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with as_exporter():
        monkeypatch.setenv("POSTGRES_PASSWORD", "another")
        get_settings.cache_clear()
        refused = parsed(exposition(NOW))
    assert {name: [s.value for s in f.samples] for name, f in refused.items()} == {
        "churn_pipeline_up": [0]
    }
    assert "password authentication failed" in caplog.text
