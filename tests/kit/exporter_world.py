"""A small world of which every metric has something to say, written by what the product itself writes with.

January and February 2024 are closed, March is delivered and not closed, April is refused. February's closing
has failed since, and what waits for it is kept as the sensor keeps it. A release is in force.
"""

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from dagster._daemon.types import DaemonHeartbeat

from churn.database import connect
from churn.database.init import initialise
from churn.database.migrate import bring_up
from churn.database.roles import EXPORTER, ensure_role, grant
from churn.deliveries import deliver
from churn.deliveries.drops_folder import keep_standing, take_in
from churn.evaluation.bootstrap import Interval
from churn.monitoring.drift import ColumnDrift, Drift
from churn.monitoring.performance import Performance
from churn.monitoring.store import keep_drift, keep_performance
from churn.months import Month
from churn.schedule.due import Attempt, Job, stage_states
from churn.schedule.facts import read_facts
from churn.schedule.sentences import keep_months_behind
from churn.settings import get_settings
from churn.stack.parts import repository_file
from churn.stack.postgres import EmbeddedPostgres
from churn_assets import run as runs
from tests.kit.action_lists import put_list
from tests.kit.close_month import close
from tests.kit.releases import draft, release, written
from tests.kit.small_drop import FEBRUARY, JANUARY, put_drop

MARCH, APRIL = FEBRUARY.next, FEBRUARY.shift(2)
NOW = dt.datetime(2024, 5, 6, 12, tzinfo=dt.UTC)
FAILED_AT = dt.datetime(2024, 5, 6, 9, tzinfo=dt.UTC)
BEAT_AT = dt.datetime(2024, 5, 6, 11, 59, tzinfo=dt.UTC)
DATABASE = "watched"
RELEASE = release()
_JOBS: dict[Job, list[str]] = {
    "month_close": ["users"],
    "train_month": ["churn_model"],
    "score_month": ["churn_scores"],
}


@contextmanager
def prepared(home: Path) -> Iterator[None]:
    """Start a server with our own database, Dagster's and the exporter's role; the settings are the owner's.

    A server of its own: Dagster's database has one name, and other tests look whether it is there.
    """
    with EmbeddedPostgres(home / "postgres", durable=False) as server, _as_owner(server, home):
        with psycopg.connect(get_settings().dsn("postgres"), autocommit=True) as connection:
            connection.execute("CREATE DATABASE template_churn")
        with connect("template_churn") as connection:
            bring_up(connection)
        with psycopg.connect(get_settings().dsn("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {DATABASE} TEMPLATE template_churn")
        settings = get_settings()
        with connect() as connection:
            password = settings.metrics_postgres_password.get_secret_value()
            ensure_role(connection, EXPORTER, settings.metrics_postgres_user, password)
            grant(connection, EXPORTER.grants, settings.metrics_postgres_user)
        initialise(["dagster"])
        yield


@contextmanager
def _as_owner(server: EmbeddedPostgres, home: Path) -> Iterator[None]:
    told = {
        **server.environment,
        "CHURN_HOME": str(home),
        "POSTGRES_DB": DATABASE,
        "DAGSTER_HOME": str(home / "dagster"),
        "CHURN_LAST_MONTH": str(APRIL),
    }
    (home / "dagster").mkdir()
    (home / "dagster" / "dagster.yaml").write_text(repository_file("dagster.yaml").read_text())
    with pytest.MonkeyPatch.context() as patch:
        for name, value in told.items():
            patch.setenv(name, value)
        get_settings.cache_clear()
        yield
    get_settings.cache_clear()


@contextmanager
def as_exporter() -> Iterator[None]:
    """Let the settings be those of the exporter, which connects as its own role."""
    settings = get_settings()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POSTGRES_USER", settings.metrics_postgres_user)
        password = settings.metrics_postgres_password.get_secret_value()
        patch.setenv("POSTGRES_PASSWORD", password)
        get_settings.cache_clear()
        yield
    get_settings.cache_clear()


def fill(inbox: Path) -> None:
    """Play the months, each drop known when it should be."""
    for number, month in enumerate((JANUARY, FEBRUARY, MARCH)):
        drop = put_drop(inbox.parent / "delivered" / month.folder(JANUARY))
        (drop / "labels.csv").unlink()
        deliver(drop, now=month.as_of + dt.timedelta(days=2), month=month)
        if number < 2:
            close(month)
    put_drop(inbox / "month_003", {"subscriptions.csv": ("29.85,29.85", "-1,29.85")})
    keep_standing(take_in(inbox, {}, now=NOW), NOW)
    _release()
    keep_failure("month_close", FEBRUARY)
    _watch()
    put_list(FEBRUARY, ["a", "b", "c"], control=["c"])
    with connect() as connection:
        connection.execute(
            "UPDATE churn_score_runs SET known_at = as_of, release_id = %s WHERE as_of = %s",
            [RELEASE.release_id, FEBRUARY.as_of],
        )


def keep_failure(job: Job, month: Month) -> None:
    """Keep a look that found a job of a month failed, as the sensor `drops_folder` keeps its own."""
    facts = read_facts()
    version = {"month_close": facts.closings, "train_month": facts.trainings}.get(
        job, facts.scorings
    )[month]
    failed = Attempt(
        job, month, version, "failed", ended_at=FAILED_AT, error="a check failed", is_refused=True
    )
    keep_months_behind(stage_states(facts, [failed], _JOBS, [dt.timedelta(minutes=1)]))


def _release() -> None:
    written(draft(JANUARY, RELEASE.release_id), draft(FEBRUARY), kept=(RELEASE,))


def _watch() -> None:
    columns = [
        ColumnDrift("monthly_fee", 900, 900, 0.3, 0.1),
        ColumnDrift("score", 300, 300, 0.05, 0.1, is_provisional=True),
    ]
    keep_drift(FEBRUARY, RELEASE.release_id, Drift(FEBRUARY, JANUARY, columns, {}, {}))
    estimated = Interval(0.84, 0.81, 0.87)
    profit = Performance("all", "profit", 900, Interval(5.5, 5.1, 5.9), Interval(5.2, 4.8, 5.6))
    for month, realised, alarm in (
        (FEBRUARY, Interval(0.62, 0.58, 0.66), "auc is below 0.7"),
        (MARCH, None, ""),
    ):
        auc = Performance("hold-out", "auc", 300, estimated, realised, alarm)
        rows = [auc, profit if realised else replace(profit, realised=None)]
        keep_performance(month, RELEASE.release_id, rows)


@dg.op
def work() -> None:
    """Do nothing, well."""


@dg.op
def fail() -> None:
    """Do nothing, badly."""
    raise ValueError("planted")


@dg.job(name="month_close")
def closing() -> None:
    """A job of the name of ours."""
    work()


@dg.job(name="train_month")
def training() -> None:
    """Another, which fails."""
    fail()


def play_runs(instance: dg.DagsterInstance) -> None:
    """Let two runs succeed, one fail and one be under way, and a daemon say that it lives."""
    for job in (closing, closing, training):
        job.execute_in_process(instance=instance, raise_on_error=False)
    instance.create_run_for_job(closing, status=dg.DagsterRunStatus.STARTED)
    instance.add_daemon_heartbeat(DaemonHeartbeat(BEAT_AT.timestamp(), "SENSOR", "one"))


@contextmanager
def dagster_instance() -> Iterator[dg.DagsterInstance]:
    """Open the instance of the repository's dagster.yaml."""
    runs.keep_connections.cache_clear()
    with runs.instance() as instance:
        yield instance
    runs.keep_connections.cache_clear()
