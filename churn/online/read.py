"""Reading the online table: one prepared statement, so that all it returns is of one state of the database.

`online_state` compares what is online with one month: which users are behind it, whose views do not match it,
and who is newer.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from churn.contract.in_force import USERS, VIEWS
from churn.contract.structure import View
from churn.database import connect
from churn.database.online_tables import PRESENT
from churn.months import Month

if TYPE_CHECKING:
    from psycopg_pool import AsyncConnectionPool


# For readers' connections. The one statement is planned once per connection and publication; left to itself,
# Postgres would plan it again for every read, which takes longer than the read.
CONNECTION: dict[str, Any] = {
    "autocommit": True,
    "connect_timeout": 2,
    "options": "-c plan_cache_mode=force_generic_plan -c timezone=UTC",
}
# For pools of such connections. A broken one is noticed by the read that fails on it, not by a check before
# every read.
POOL: dict[str, Any] = {
    "min_size": 1,
    "max_size": 8,
    # A request would rather fail than wait longer.
    "timeout": 2,
    "reconnect_timeout": 2,
    "kwargs": CONNECTION,
}
# Every connection of a pool may be stale, and missing columns may have to be looked up once.
_ATTEMPTS = POOL["max_size"] + 2
# How many columns come before those of the views: newest, user_id, as_of, known_at.
_KEYS = 4


@dataclass(slots=True)
class OnlineRow:
    """What is online of one user, all of one version.

    Args:
        as_of, known_at: the version; None for an unknown user.
        values: by feature, in the order of the views; a Float32 is the number of its shortest text, as 29.85.
        missing_views: the views, of those asked for, that have no row of the user; their features are None.
    """

    user_id: str
    as_of: dt.datetime | None
    known_at: dt.datetime | None
    values: dict[str, Any]
    missing_views: list[str]


def read_rows(
    connection: psycopg.Connection,
    user_ids: Sequence[str],
    views: Sequence[View],
    table: str = PRESENT,
) -> tuple[dt.datetime | None, list[OnlineRow]]:
    """Return the newest published as_of, None before the first, and one row per user id, in order.

    Args:
        connection: the connection to read on.
        user_ids: the users asked for.
        views: the views asked for.
        table: the present table, or the next one, to inspect a publication before it is switched in.
    """
    statement, names = _statement(_columns(views), table)
    cursor = connection.execute(statement, [list(user_ids)], prepare=True)
    return _rows(cursor.fetchall(), user_ids, views, names)


async def read_rows_async(
    connection: psycopg.AsyncConnection,
    user_ids: Sequence[str],
    views: Sequence[View],
    absent: frozenset[str] = frozenset(),
) -> tuple[dt.datetime | None, list[OnlineRow]]:
    """Do what `read_rows` does, with the same statement, without blocking.

    Args:
        connection: the connection to read on.
        user_ids: the users asked for.
        views: the views asked for.
        absent: columns that the table does not have.
    """
    statement, names = _statement(_columns(views), absent=absent)
    cursor = await connection.execute(statement, [list(user_ids)], prepare=True)
    return _rows(await cursor.fetchall(), user_ids, views, names)


async def read_pooled_async(
    pool: "AsyncConnectionPool[Any]", user_ids: Sequence[str], views: Sequence[View]
) -> tuple[dt.datetime | None, list[OnlineRow]]:
    """Do the same on a connection of a pool, and try again where that connection is stale.

    Postgres may have dropped it, or it may hold a plan from before a column was given a wider type. Where the
    table lacks columns of the contract, because it has not been migrated yet, the others are read: a missing
    feature is null, and a missing view has no row.

    Raises:
        psycopg.OperationalError: Postgres does not answer.
    """
    absent: frozenset[str] = frozenset()
    was_dropped = False
    for _ in range(_ATTEMPTS):
        async with pool.connection() as connection:
            try:
                return await read_rows_async(connection, user_ids, views, absent)
            except psycopg.errors.UndefinedColumn:
                absent = await _absent_columns(connection, views)
                continue
            except psycopg.errors.FeatureNotSupported:
                await connection.close()
                continue
            except psycopg.OperationalError:
                if was_dropped or not connection.closed:
                    raise
                was_dropped = True
        # Postgres has come back: broken connections of the pool are replaced.
        await pool.check()
    async with pool.connection() as connection:
        return await read_rows_async(connection, user_ids, views, absent)


async def _absent_columns(
    connection: psycopg.AsyncConnection, views: Sequence[View]
) -> frozenset[str]:
    cursor = await connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s)"
        " AND attnum > 0 AND NOT attisdropped",
        [f"online.{PRESENT}"],
    )
    present = {row[0] for row in await cursor.fetchall()}
    names = {view.name for view in views} | {f.name for view in views for f in view.features}
    return frozenset(names - present)


def newest_publication(connection: psycopg.Connection) -> dt.datetime | None:
    """Return the as_of of the newest published month, or None before the first."""
    row = connection.execute("SELECT max(as_of) FROM online.publications").fetchone()
    return row[0] if row else None


def _columns(views: Sequence[View]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return each view's name with the names of its features; a release may read only part of a view."""
    return tuple((view.name, view.feature_names) for view in views)


@cache
def _statement(
    views: tuple[tuple[str, tuple[str, ...]], ...],
    table: str = PRESENT,
    absent: frozenset[str] = frozenset(),
) -> tuple[bytes, tuple[str, ...]]:
    """Return the statement that reads these views, and the names of their features.

    It returns a row even where no user is known, since every row holds the newest publication.
    """
    names = tuple(name for _, features in views for name in features)
    present = [view for view, _ in views]
    columns = [
        sql.SQL("NULL") if name in absent else sql.Identifier("o", name)
        for name in ("user_id", "as_of", "known_at", *present, *names)
    ]
    statement = sql.SQL(
        "SELECT p.newest, {} FROM (SELECT max(as_of) AS newest FROM online.publications) AS p"
        " LEFT JOIN {} AS o ON o.user_id = ANY(%s::text[])"
    ).format(sql.SQL(", ").join(columns), sql.Identifier("online", table))
    return statement.as_bytes(), names


def _rows(
    fetched: list[tuple[Any, ...]],
    user_ids: Sequence[str],
    views: Sequence[View],
    names: tuple[str, ...],
) -> tuple[dt.datetime | None, list[OnlineRow]]:
    by_user = {cells[1]: cells for cells in fetched}
    at = _KEYS + len(views)
    rows = []
    for user_id in user_ids:
        cells = by_user.get(user_id)
        if cells is None:
            missing = [view.name for view in views]
            rows.append(OnlineRow(user_id, None, None, dict.fromkeys(names), missing))
            continue
        present = cells[_KEYS:at]
        missing = (
            []
            if all(present)
            else [view.name for view, has_row in zip(views, present, strict=True) if not has_row]
        )
        values = dict(zip(names, cells[at:], strict=True))
        rows.append(OnlineRow(user_id, cells[2], cells[3], values, missing))
    return fetched[0][0], rows


@dataclass(frozen=True)
class OnlineState:
    """What is online, compared with one month; `behind` and `mixed` must be 0 once it is published.

    Args:
        behind: how many users of the month are online with an older month, or not at all.
        mixed: how often a user of the month has a view online but not in the snapshots, or the reverse.
        users_newer: how many users are online with a newer month.
        newest: the newest published as_of; None before the first publication.
    """

    behind: int
    mixed: int
    users_newer: int
    newest: dt.datetime | None


def online_state(month: Month, table: str = PRESENT) -> OnlineState:
    """Count what is online, in one statement over one state of the database.

    Args:
        month: the month to compare with.
        table: the present table, or the next one, to inspect a publication before it is switched in.
    """
    users = sql.Identifier("online", table)
    mixed = sql.SQL(" + ").join(
        sql.SQL(
            "(SELECT count(*) FROM {users} AS u LEFT JOIN"
            " (SELECT user_id FROM {current} WHERE as_of = %(as_of)s) AS c USING (user_id)"
            " WHERE u.as_of = %(as_of)s AND u.{view} <> (c.user_id IS NOT NULL))"
        ).format(
            users=users,
            current=sql.Identifier(f"{view.table.snapshot}_current"),
            view=sql.Identifier(view.name),
        )
        for view in VIEWS
    )
    query = sql.SQL(
        "SELECT (SELECT count(*) FROM {members} AS c"
        "  LEFT JOIN {users} AS u USING (user_id) WHERE c.as_of = %(as_of)s"
        "  AND (u.user_id IS NULL OR u.as_of < %(as_of)s)),"
        " {mixed}, (SELECT count(*) FROM {users} WHERE as_of > %(as_of)s),"
        " (SELECT max(as_of) FROM online.publications)"
    ).format(users=users, mixed=mixed, members=sql.Identifier(f"{USERS.snapshot}_current"))
    with connect() as connection:
        row = connection.execute(query, {"as_of": month.as_of}).fetchone()
    assert row is not None  # noqa: S101  (scalar sub-selects always make a row)
    return OnlineState(*row)
