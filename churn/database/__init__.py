"""Postgres: how to reach it, its locks, every table's DDL, migrations, roles, and COPY both ways.

What stands in a table belongs to the stage that writes it: its statements are there.
"""

import functools
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from churn.errors import ChurnError
from churn.retry import repeat
from churn.settings import get_settings

# How long to wait for a table that others hold.
PATIENCE_SECONDS = 300.0
# A shorter wait is not worth a message.
SAY_AFTER_SECONDS = 3.0
_logger = logging.getLogger(__name__)


@contextmanager
def connect(database: str | None = None) -> Iterator[psycopg.Connection]:
    """Open one transaction on Postgres; it commits at the end, or rolls back on an exception.

    Where Postgres is just being restarted, only the opening is tried again. A transaction is not: this
    function cannot know whether its work may be done twice, nor whether a lost commit took effect.

    Args:
        database: a database other than POSTGRES_DB.

    Raises:
        ChurnError: Postgres does not answer.
    """
    settings = get_settings()
    try:
        connection = repeat(_open, settings.dsn(database))
    except psycopg.OperationalError as error:
        raise no_answer(error) from error
    # This commits or rolls back, then closes the connection.
    with connection:
        yield connection


@contextmanager
def connected(connection: psycopg.Connection | None) -> Iterator[psycopg.Connection]:
    """Give the caller's own open transaction, which stays open, or a new one for this block alone."""
    if connection is not None:
        yield connection
        return
    with connect() as opened:
        yield opened


def no_answer(error: psycopg.Error) -> ChurnError:
    """Return the error for a connection that could not be opened; it is retried as its cause is."""
    settings = get_settings()
    return ChurnError(
        f"Postgres does not answer: {str(error).strip()}",
        where=f"{settings.postgres_host}:{settings.postgres_port}",
        remedy="start the stack with `churn up`, or set POSTGRES_HOST and POSTGRES_PASSWORD",
    )


def _open(dsn: str) -> psycopg.Connection:
    """Open a connection and use it once: a server that is shutting down may accept one and drop it."""
    connection = psycopg.connect(dsn, connect_timeout=5, application_name=process_name())
    try:
        connection.execute("SET TIME ZONE 'UTC'")
    except BaseException:
        connection.close()
        raise
    return connection


@functools.cache
def process_name() -> str:
    """Return a name of this process for people, such as `churn run, process 4711 on laptop`."""
    program = Path(sys.argv[0])
    name = {"__main__": program.parent.name, "main": "churn"}.get(program.stem, program.stem)
    command = [name, *(word for word in sys.argv[1:2] if not word.startswith("-"))]
    return f"{' '.join(command)[:20]}, process {os.getpid()} on {socket.gethostname()}"[:63]


def lock(connection: psycopg.Connection, name: str) -> None:
    """Wait for the advisory lock called `name`; it is released when the transaction ends.

    If the wait takes more than a few seconds, this module's log says who holds the lock.
    """
    _lock(connection, "pg_try_advisory_xact_lock", "pg_advisory_xact_lock", name)


def lock_until_closed(connection: psycopg.Connection, name: str) -> None:
    """Wait for the same advisory lock, and hold it across transactions until the connection is closed."""
    _lock(connection, "pg_try_advisory_lock", "pg_advisory_lock", name)


def briefly(connection: psycopg.Connection, work: Callable[[], None], *, where: str) -> None:
    """Do work that locks tables others read, in a transaction of its own, without holding readers up.

    While the work waits for a lock, new readers queue behind it. So it waits only a moment, lets them pass,
    and tries again.

    Args:
        connection: a connection on which no transaction is open.
        work: what to do; where it is tried again, it starts from its beginning.
        where: what it locks, for messages.

    Raises:
        ChurnError: the table was never free for long enough.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with connection.transaction():
                connection.execute("SET LOCAL lock_timeout = '100ms'")
                work()
        except psycopg.errors.LockNotAvailable:
            if time.monotonic() > deadline:
                raise ChurnError(
                    f"it has been held in one transaction for {PATIENCE_SECONDS:.0f} s, without a gap",
                    where=where,
                    remedy="end the transaction (pg_stat_activity names it) and try again",
                ) from None
            time.sleep(0.2)
        else:
            return


def refresh_statistics(connection: psycopg.Connection, table: sql.Identifier) -> None:
    """Refresh the planner's statistics of `table` after rows were added.

    Without statistics of a month, the planner takes it for a single row, and joins it by nested loops.
    """
    connection.execute(sql.SQL("ANALYZE {}").format(table))


def _lock(connection: psycopg.Connection, attempt: str, wait: str, name: str) -> None:
    call = sql.SQL("SELECT {}(hashtextextended(%s, 0))")
    row = connection.execute(call.format(sql.SQL(attempt)), [name]).fetchone()
    if row and row[0]:
        return
    timer = threading.Timer(SAY_AFTER_SECONDS, _say_for_whom, [connection.info.backend_pid, name])
    timer.daemon = True
    timer.start()
    try:
        connection.execute(call.format(sql.SQL(wait)), [name])
    finally:
        timer.cancel()


def _say_for_whom(backend: int, name: str) -> None:
    try:
        with connect() as other:
            holders = other.execute(
                "SELECT application_name, coalesce(xact_start, backend_start)"
                " FROM pg_stat_activity WHERE pid = ANY(pg_blocking_pids(%s)) ORDER BY 2",
                [backend],
            ).fetchall()
    except (ChurnError, psycopg.Error):
        # Whoever waits will see the same error itself.
        return
    for who, since in holders:
        # A role that may not see another's session is not told since when it is at work.
        when = f", at work since {since:%H:%M:%S} UTC" if since else ""
        _logger.warning("waits for %s%s (%s)", who or "somebody", when, name)
