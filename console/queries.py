"""The console's connections: one pool that reads the views, one for its own tables.

A page reads through `Queries`, which sees the views of the schema `retention` and nothing else, whatever the
SQL says: its sessions are those of the role `churn_reader`, read-only, and end a statement that takes long.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, LiteralString, Protocol, TypeVar

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import class_row
from psycopg_pool import ConnectionPool

from churn.database import process_name
from churn.http_log import request_id
from churn.settings import get_settings

Row = TypeVar("Row")
Parameters = Sequence[Any] | Mapping[str, Any]
Statement = LiteralString | sql.SQL | sql.Composed
STATEMENT_SECONDS = 10
IDLE_SECONDS = 60
_POOLED = 8  # connections of each pool at most; a page needs one of each
_WAIT_SECONDS = 5.0


class Connections(Protocol):
    """Where connections come from, each for a `with` block: a pool, or one that is open."""

    def connection(self) -> AbstractContextManager[psycopg.Connection]:
        """Give a connection."""


class Queries:
    """Typed rows of the views."""

    def __init__(self, pool: Connections) -> None:
        self._pool = pool

    @contextmanager
    def of_one_state(self) -> Iterator["Queries"]:
        """Give queries that all see one state of the database, whatever is recorded meanwhile."""
        with self._pool.connection() as connection:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            yield Queries(_Open(connection))

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
            _transaction(self._pool) as connection,
            connection.cursor(row_factory=class_row(kind)) as cursor,
        ):
            return cursor.execute(query, parameters).fetchall()

    def row(self, kind: type[Row], query: Statement, parameters: Parameters = ()) -> Row | None:
        """Return the first row of a query; None where there is none."""
        with (
            _transaction(self._pool) as connection,
            connection.cursor(row_factory=class_row(kind)) as cursor,
        ):
            return cursor.execute(query, parameters).fetchone()

    def stream(
        self, kind: type[Row], query: Statement, parameters: Parameters = (), *, size: int = 5_000
    ) -> Iterator[Row]:
        """Yield the rows of a query of any length, of which `size` are in memory at a time."""
        with (
            _transaction(self._pool) as connection,
            connection.cursor("streamed", row_factory=class_row(kind)) as cursor,
        ):
            cursor.itersize = size
            yield from cursor.execute(query, parameters)


class _Open:
    """A connection that is open already, and stays so."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection]:
        """Give the connection, in the transaction that it is in."""
        yield self._connection


class Database:
    """Both pools; they open when the application starts, and Postgres need not be there yet.

    Args:
        own: how to connect as the console: to its sessions and acts, and to what people report.
        views: how to connect in order to read the views.
    """

    def __init__(self, own: str, views: str) -> None:
        limit = (
            f"-c default_transaction_read_only=on -c statement_timeout={STATEMENT_SECONDS}s"
            # A browser that stops reading an export must not hold its transaction open.
            f" -c idle_in_transaction_session_timeout={IDLE_SECONDS}s"
        )
        self._own = _pool("own", own, "-c timezone=UTC")
        self._views = _pool("views", views, f"-c timezone=UTC {limit}")
        self.queries = Queries(self._views)

    @classmethod
    def from_settings(cls) -> "Database":
        """Connect as POSTGRES_USER; the views are read as the readers' role where it has a password."""
        settings = get_settings()
        own = settings.dsn()
        password = settings.reader_postgres_password.get_secret_value()
        login = {"user": settings.reader_postgres_user, "password": password} if password else {}
        return cls(own, make_conninfo(own, **login))

    @contextmanager
    def own(self) -> Iterator[psycopg.Connection]:
        """Open one transaction as the console's own role: sessions, acts, and what people report."""
        with _transaction(self._own) as connection:
            yield connection

    def open(self) -> None:
        """Begin to connect."""
        self._own.open()
        self._views.open()

    def close(self) -> None:
        """End all connections."""
        self._views.close()
        self._own.close()


@contextmanager
def _transaction(pool: Connections) -> Iterator[psycopg.Connection]:
    """Open one transaction, which bears the request's id in pg_stat_activity and in Postgres's log."""
    with pool.connection() as connection:
        if known := request_id():
            connection.execute(
                "SELECT set_config('application_name', %s, true)", [f"console {known}"]
            )
        yield connection


def _pool(name: str, dsn: str, options: str) -> ConnectionPool:
    return ConnectionPool(
        dsn,
        kwargs={"options": options, "connect_timeout": 5, "application_name": process_name()},
        min_size=1,
        max_size=_POOLED,
        timeout=_WAIT_SECONDS,
        check=ConnectionPool.check_connection,  # Postgres may have been started again meanwhile
        name=f"console {name}",
        open=False,
    )
