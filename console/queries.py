"""The console's connections: one pool that reads the views, one for its own tables.

A page reads through `Queries`, which sees the views of the schema `retention` and nothing else, whatever the
SQL says: its sessions take the role `churn_reader`, are read-only, and end a statement that takes too long.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, LiteralString, TypeVar

import psycopg
from psycopg import sql
from psycopg.rows import class_row
from psycopg_pool import ConnectionPool

from churn.database import process_name
from churn.settings import get_settings

Row = TypeVar("Row")
Parameters = Sequence[Any] | Mapping[str, Any]
Statement = LiteralString | sql.SQL | sql.Composed
READER = "churn_reader"
STATEMENT_SECONDS = 10
_POOLED = 8  # connections of each pool at most; a page needs one of each
_WAIT_SECONDS = 5.0


class Queries:
    """Typed rows of the views."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool

    def rows(self, kind: type[Row], query: Statement, parameters: Parameters = ()) -> list[Row]:
        """Return all rows of a query.

        Args:
            kind: a dataclass whose fields are the query's columns, by name.
            query: SQL with placeholders; what a person has typed goes into the parameters.
            parameters: of the placeholders.

        Raises:
            psycopg.errors.QueryCanceled: it took longer than STATEMENT_SECONDS.
        """
        with (
            self._pool.connection() as connection,
            connection.cursor(row_factory=class_row(kind)) as cursor,
        ):
            return cursor.execute(query, parameters).fetchall()

    def row(self, kind: type[Row], query: Statement, parameters: Parameters = ()) -> Row | None:
        """Return the first row of a query; None where there is none."""
        with (
            self._pool.connection() as connection,
            connection.cursor(row_factory=class_row(kind)) as cursor,
        ):
            return cursor.execute(query, parameters).fetchone()

    def stream(
        self, kind: type[Row], query: Statement, parameters: Parameters = (), *, size: int = 5_000
    ) -> Iterator[Row]:
        """Yield the rows of a query of any length, of which `size` are in memory at a time."""
        with (
            self._pool.connection() as connection,
            connection.cursor("streamed", row_factory=class_row(kind)) as cursor,
        ):
            cursor.itersize = size
            yield from cursor.execute(query, parameters)


class Database:
    """Both pools; they open when the application starts, and Postgres need not be there yet."""

    def __init__(self) -> None:
        settings = get_settings()
        self._own = _pool("own", settings.dsn(), "-c timezone=UTC")
        limit = f"-c default_transaction_read_only=on -c statement_timeout={STATEMENT_SECONDS}s"
        self._reading = _pool("views", settings.dsn(), f"-c timezone=UTC {limit}", _as_reader)
        self.queries = Queries(self._reading)

    @contextmanager
    def own(self) -> Iterator[psycopg.Connection]:
        """Open one transaction as the console's own role: sessions, acts, and what people report."""
        with self._own.connection() as connection:
            yield connection

    def open(self) -> None:
        """Begin to connect."""
        self._own.open()
        self._reading.open()

    def close(self) -> None:
        """End all connections."""
        self._reading.close()
        self._own.close()


def _as_reader(connection: psycopg.Connection) -> None:
    """Take the role of the views' readers, if we may; else the views are read as whom we connected as."""
    may = connection.execute(
        "SELECT FROM pg_roles WHERE rolname = %s AND pg_has_role(oid, 'SET')", [READER]
    ).fetchone()
    if may is not None:
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(READER)))
    connection.commit()


def _pool(
    name: str,
    dsn: str,
    options: str,
    configure: Callable[[psycopg.Connection], None] | None = None,
) -> ConnectionPool:
    return ConnectionPool(
        dsn,
        kwargs={"options": options, "connect_timeout": 5, "application_name": process_name()},
        min_size=1,
        max_size=_POOLED,
        timeout=_WAIT_SECONDS,
        configure=configure,
        check=ConnectionPool.check_connection,  # Postgres may have been started again meanwhile
        name=f"console {name}",
        open=False,
    )
