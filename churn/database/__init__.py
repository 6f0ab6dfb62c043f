"""Postgres: how to reach it. The schema is in schema.py, the first start in init.py."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from churn.errors import ChurnError
from churn.retry import repeat
from churn.settings import get_settings


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
        raise ChurnError(
            f"Postgres does not answer: {str(error).strip()}",
            where=f"{settings.postgres_host}:{settings.postgres_port}",
            remedy="start the stack with `churn up`, or set POSTGRES_HOST and POSTGRES_PASSWORD",
        ) from error
    with connection:  # commits or rolls back, then closes
        yield connection


def _open(dsn: str) -> psycopg.Connection:
    """Open a connection and try it: a server that is being stopped may take one and drop it."""
    connection = psycopg.connect(dsn, connect_timeout=5)
    try:
        connection.execute("SET TIME ZONE 'UTC'")
    except BaseException:
        connection.close()
        raise
    return connection


def lock(connection: psycopg.Connection, name: str) -> None:
    """Wait for the advisory lock called `name`; it is free again when the transaction ends."""
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [name])


def refresh_statistics(connection: psycopg.Connection, table: sql.Identifier) -> None:
    """Tell the planner what has just come into `table`.

    It takes a month that it has no statistics of for a single row, and joins it by nested loops.
    """
    connection.execute(sql.SQL("ANALYZE {}").format(table))


def lock_until_closed(connection: psycopg.Connection, name: str) -> None:
    """Wait for the same advisory lock, and keep it over transactions until the connection is closed."""
    connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [name])
