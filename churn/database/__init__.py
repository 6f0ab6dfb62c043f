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

PATIENCE_SECONDS = 300.0  # for a table that others hold
SAY_AFTER_SECONDS = 3.0  # a wait that is over sooner is not worth a word
_logger = logging.getLogger(__name__)


@contextmanager
def connect(database: str | None = None) -> Iterator[psycopg.Connection]:
    """Open one transaction on Postgres; it commits at the end, or rolls back on an exception.

    Only the opening is repeated where Postgres is just being restarted. A transaction is not: nobody
    knows here whether its work may be done twice, or whether a lost commit was one.

    Args:
        database: another database than POSTGRES_DB.

    Raises:
        ChurnError: Postgres does not answer.
    """
    settings = get_settings()
    try:
        connection = repeat(_open, settings.dsn(database))
    except psycopg.OperationalError as error:
        raise no_answer(error) from error
    with connection:  # commits or rolls back, then closes
        yield connection


def no_answer(error: psycopg.Error) -> ChurnError:
    """Return what to say where no connection could be opened; it passes as its cause does."""
    settings = get_settings()
    return ChurnError(
        f"Postgres does not answer: {str(error).strip()}",
        where=f"{settings.postgres_host}:{settings.postgres_port}",
        remedy="start the stack with `churn up`, or set POSTGRES_HOST and POSTGRES_PASSWORD",
    )


def _open(dsn: str) -> psycopg.Connection:
    """Open a connection and try it: a server that is being stopped may take one and drop it."""
    connection = psycopg.connect(dsn, connect_timeout=5, application_name=process_name())
    try:
        connection.execute("SET TIME ZONE 'UTC'")
    except BaseException:
        connection.close()
        raise
    return connection


@functools.cache
def process_name() -> str:
    """Name this process for people: `churn run, process 4711 on laptop`; Postgres shows it, too."""
    program = Path(sys.argv[0])
    name = {"__main__": program.parent.name, "main": "churn"}.get(program.stem, program.stem)
    command = [name, *(word for word in sys.argv[1:2] if not word.startswith("-"))]
    return f"{' '.join(command)[:20]}, process {os.getpid()} on {socket.gethostname()}"[:63]


def lock(connection: psycopg.Connection, name: str) -> None:
    """Wait for the advisory lock called `name`; it is free again when the transaction ends.

    A wait of more than a few seconds says for whom, in the log of this module.
    """
    _lock(connection, "pg_try_advisory_xact_lock", "pg_advisory_xact_lock", name)


def lock_until_closed(connection: psycopg.Connection, name: str) -> None:
    """Wait for the same advisory lock, and keep it over transactions until the connection is closed."""
    _lock(connection, "pg_try_advisory_lock", "pg_advisory_lock", name)


def briefly(connection: psycopg.Connection, work: Callable[[], None], *, where: str) -> None:
    """Do work that locks tables others read, in a transaction of its own that holds nobody up.

    Readers who come while it waits for others to finish wait, too; so it waits a moment, lets them pass, and
    tries again.

    Args:
        connection: no transaction is open on it.
        work: is done again from its beginning.
        where: what it locks, for people.

    Raises:
        ChurnError: somebody holds it all the time.
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
    """Tell the planner what has just come into `table`.

    It takes a month that it has no statistics of for a single row, and joins it by nested loops.
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
        return  # the one that waits will hear of it itself
    for who, since in holders:
        _logger.warning("waits for %s, at work since %s UTC (%s)", who, f"{since:%H:%M:%S}", name)
