"""Which runs are alive, and ending those that are not.

Each run holds an advisory lock in Postgres for as long as its process lives. Postgres releases it when the
process, its container or its machine is gone, so whatever starts next can tell that the run is dead, without
a daemon and without process ids of another machine. Advisory locks:
https://www.postgresql.org/docs/current/explicit-locking.html#ADVISORY-LOCKS
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager

import dagster as dg
import psutil
import psycopg
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._utils.interrupts import check_captured_interrupt

from churn.database import no_answer, process_name
from churn.errors import ChurnError
from churn.records import close_records
from churn.retry import repeat
from churn.settings import get_settings

# Names the process that executes a run. A re-execution inherits the tag, so it contains the run's id, too.
PROCESS_TAG = "churn/process"
# A living run whose connection was cut has its lock back within this time.
GRACE_SECONDS = 10.0
_BEAT_SECONDS = 2.0
# No other process holds a run's lock for longer than a moment, so this is ample.
_LOCK_SECONDS = 60.0
_PAUSE_SECONDS = 0.1
# A run gets its tag within milliseconds of its start, so this is ample, too.
_UNTAGGED_SECONDS = 60.0
_KEY = "hashtextextended('churn.run.' || %s, 0)"
_UNDER_WAY = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_logger = logging.getLogger(__name__)
_held_here: set[str] = set()


def process_tag(run_id: str) -> dict[str, str]:
    """Return the tag that names this process as the one that executes the run."""
    return {PROCESS_TAG: f"{process_name()}, run {run_id}"}


@contextmanager
def alive(run_id: str, is_over: Callable[[], bool]) -> Iterator[None]:
    """Hold the run's lock while the block executes it; inside a block of the same run, do nothing.

    Args:
        run_id: the Dagster run.
        is_over: returns whether the run's end has been recorded meanwhile. It is called when the lock was
            lost with Postgres and is held again. If so, this process is interrupted, since the run may be
            under way elsewhere.
    """
    if run_id in _held_here:
        yield
        return
    beat = _Heartbeat(run_id, is_over)
    beat.start()
    _held_here.add(run_id)
    try:
        yield
    finally:
        _held_here.discard(run_id)
        beat.stop()


class _Heartbeat(threading.Thread):
    """Keeps the lock of one run, and takes it again if its connection is cut."""

    def __init__(self, run_id: str, is_over: Callable[[], bool]) -> None:
        super().__init__(name=f"alive-{run_id[:8]}", daemon=True)
        self._run_id, self._is_over = run_id, is_over
        self._stopped = threading.Event()
        self._connection = _session()
        try:
            _wait_for(self._connection, run_id, check_captured_interrupt)
        except BaseException:
            self._connection.close()
            raise

    def run(self) -> None:
        while not self._stopped.wait(_BEAT_SECONDS):
            try:
                self._connection.execute("SELECT 1")
            except psycopg.Error as error:
                _logger.info("the lock of run %s is lost: %s", self._run_id, error)
                self._connection.close()
                self._take_again()

    def stop(self) -> None:
        self._stopped.set()
        self.join()
        self._connection.close()

    def _take_again(self) -> None:
        while not self._stopped.wait(_BEAT_SECONDS / 4):
            try:
                self._connection = _session()
                # A request to stop is for the main thread, so only this thread's own flag is asked.
                _wait_for(self._connection, self._run_id, self._stopped.is_set)
                is_over = self._is_over()
            except DagsterExecutionInterruptedError:
                return
            # Neither Postgres nor Dagster's own connections to it need be back yet.
            except Exception as error:
                _logger.info("the lock of run %s is not back yet: %s", self._run_id, error)
                continue
            if is_over:
                _logger.error("run %s was given up meanwhile: this process ends it", self._run_id)
                os.kill(os.getpid(), signal.SIGINT)
            return


def end_dead_runs(
    instance: dg.DagsterInstance,
    *,
    grace_seconds: float | None = None,
    server_started: float | None = None,
) -> list[str]:
    """Record runs whose process is gone as failed, and free their places in pools.

    Args:
        instance: the Dagster instance.
        grace_seconds: how long a lock must be free before its run counts as dead; None takes GRACE_SECONDS.
        server_started: when the code server that launches runs started, in seconds since the epoch. A run
            that was launched before then and has not begun never will.

    Returns:
        A description of each run that was ended.
    """
    grace = GRACE_SECONDS if grace_seconds is None else grace_seconds
    suspects = [run.run_id for run in _suspects(instance, server_started)]
    ended: list[str] = []
    with _session() as connection:
        free = _unheld(connection, suspects)
        deadline = time.monotonic() + grace
        while free and time.monotonic() < deadline:
            time.sleep(min(0.25, grace))
            free = _unheld(connection, free)
        for run_id in free:
            ended += _end(connection, instance, run_id)
        _give_back_places(connection, instance)
    return ended


def describe(run: dg.DagsterRun) -> str:
    """Return the job, its month and the run's short id: `train_month 2024-03-01 (run 1a2b3c4d)`."""
    partition = run.tags.get("dagster/partition", "")
    return f"{' '.join(filter(None, (run.job_name, partition)))} (run {run.run_id[:8]})"


@dg.sensor(
    name="dead_runs",
    minimum_interval_seconds=20,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Records runs whose process is gone as failed, so that they hold no place in the queue or in a pool. "
        "A run holds a lock in Postgres for as long as its process lives."
    ),
)
def dead_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """End dead runs; this function runs in the code server, which launches runs."""
    started = psutil.Process().create_time()
    ended = end_dead_runs(context.instance, server_started=started)
    return dg.SkipReason(f"ended: {'; '.join(ended)}" if ended else "every run under way is alive")


def _suspects(
    instance: dg.DagsterInstance, server_started: float | None
) -> Iterator[dg.DagsterRun]:
    """Yield the runs that hold their lock by now if they are alive."""
    for record in instance.get_run_records(dg.RunsFilter(statuses=_UNDER_WAY)):
        run = record.dagster_run
        if run.status == dg.DagsterRunStatus.STARTING:
            launched = instance.get_run_stats(run.run_id).launch_time
            begun_in_vain = server_started and launched and launched < server_started
        else:
            begun_in_vain = (
                record.start_time and record.start_time < time.time() - _UNTAGGED_SECONDS
            )
        if begun_in_vain or run.tags.get(PROCESS_TAG, "").endswith(run.run_id):
            yield run


def _end(connection: psycopg.Connection, instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """End one run under its lock, so that nobody else ends it and it does not come back meanwhile."""
    row = connection.execute(f"SELECT pg_try_advisory_lock({_KEY})", [run_id]).fetchone()
    if not (row and row[0]):
        return []
    try:
        run = instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return []
        who = run.tags.get(PROCESS_TAG, "").removesuffix(f", run {run_id}")
        words = (
            f"The process that executed this run ({who or 'it never began'}) is gone: it was killed, ran "
            "out of memory, or its machine or container went down. What it had made stays; run it again."
        )
        if run.status == dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, words)
        else:
            instance.report_run_failed(run, words)
    finally:
        connection.execute(f"SELECT pg_advisory_unlock({_KEY})", [run_id])
    _logger.warning("%s is dead and was recorded as failed: its process is gone", describe(run))
    try:
        close_records(run_id, succeeded=False)
    except Exception as error:
        # The run has ended in any case, and a run-status sensor closes its records, too.
        _logger.warning("its records in MLflow stay open: %s", error)
    return [describe(run)]


def _give_back_places(connection: psycopg.Connection, instance: dg.DagsterInstance) -> None:
    """Free the places in pools that ended runs hold; a killed step cannot do so itself."""
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return
    if not (holders := list(storage.get_concurrency_run_ids())):
        return
    over = dg.RunsFilter(run_ids=holders, statuses=list(FINISHED_STATUSES))
    ended = [run.run_id for run in instance.get_runs(over)]
    for run_id in _unheld(connection, ended):
        storage.free_concurrency_slots_for_run(run_id)


def _session() -> psycopg.Connection:
    """Open an autocommit connection, which Postgres soon drops when this machine is gone.

    Raises:
        ChurnError: Postgres does not answer.
    """
    settings = get_settings()
    try:
        return repeat(
            psycopg.connect,
            settings.dsn(),
            autocommit=True,
            connect_timeout=5,
            application_name=process_name(),
            options="-c tcp_keepalives_idle=15 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3",
            # On our side, too: where the network is cut without a word, both ends give the lock up in time.
            keepalives_idle=15,
            keepalives_interval=5,
            keepalives_count=3,
            tcp_user_timeout=15_000,
        )
    except psycopg.OperationalError as error:
        raise no_answer(error) from error


def _wait_for(connection: psycopg.Connection, run_id: str, is_stopped: Callable[[], bool]) -> None:
    """Take the run's lock, which another process may hold for the moment that it takes to end a dead run.

    Dagster captures signals while a run is executed, so this wait has to ask for them itself.

    Args:
        connection: holds the lock until it is closed.
        run_id: the Dagster run.
        is_stopped: returns whether the lock is no longer wanted.

    Raises:
        ChurnError: another process keeps the lock.
    """
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        row = connection.execute(f"SELECT pg_try_advisory_lock({_KEY})", [run_id]).fetchone()
        if row and row[0]:
            return
        if is_stopped():
            raise DagsterExecutionInterruptedError(f"stopped waiting for the lock of run {run_id}")
        if time.monotonic() > deadline:
            raise ChurnError(
                f"another process has held the lock of this run for {_LOCK_SECONDS:.0f} seconds:"
                " it executes the same run",
                where=f"run {run_id}",
                remedy="let that process finish, or stop it; pg_stat_activity names it",
            )
        time.sleep(_PAUSE_SECONDS)


def _unheld(connection: psycopg.Connection, run_ids: Collection[str]) -> list[str]:
    """Return those of the runs whose lock nobody holds, without taking a lock."""
    rows: Iterable[tuple[str]] = connection.execute(
        "SELECT run_id FROM unnest(%s::text[]) AS run_id, "
        " LATERAL (SELECT hashtextextended('churn.run.' || run_id, 0) AS key) AS named"
        " WHERE NOT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1"
        "  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        "  AND classid::bigint = (key >> 32) & 4294967295 AND objid::bigint = key & 4294967295)",
        [list(run_ids)],
    ).fetchall()
    return [row[0] for row in rows]
