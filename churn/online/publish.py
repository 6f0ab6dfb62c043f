"""Publishing a month online: the next table is built aside, then switched in; no user goes back in time.

Each user is online with one version (as_of, known_at) of all views, and an older version never replaces it.
Readers see the table from before or after a publication, and wait for the moment of the switch at most. A
user whom a correction withdraws from a month gets back the row of an earlier published month.
"""

import contextlib
import datetime as dt
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from psycopg import sql

from churn.contract.in_force import CONTRACT, PROFILE_TABLES, VIEWS
from churn.contract.structure import View
from churn.database import briefly, connect, lock_until_closed
from churn.database.copying import copy_batches_in
from churn.database.online_tables import (
    COLUMNS,
    LOCK,
    NEXT,
    NEXT_USERS,
    PRESENT,
    USERS,
    users_columns,
)
from churn.errors import ChurnError
from churn.events.kinds import MonthClosed
from churn.events.outbox import record_event
from churn.lake.files import ARROW_TYPES, lake_file, read_columns, schema_of, view_version
from churn.months import Month
from churn.online.redis_copy import give_copy, prepare_copy
from churn.retry import repeat_patiently
from churn.settings import get_settings

_VIEWS = {view.name for view in VIEWS}
_DTYPES = {feature.name: feature.dtype for view in VIEWS for feature in view.features}
# The wide row without as_of and known_at, which all rows of a month share.
SCHEMA = pa.schema(
    [
        (name, pa.bool_() if name in _VIEWS else ARROW_TYPES[_DTYPES.get(name, "String")])
        for name in COLUMNS
        if name not in {"as_of", "known_at"}
    ]
)


def month_rows(month: Month, versions: Mapping[str, dt.datetime]) -> pa.Table:
    """Return the wide rows of a month (SCHEMA), sorted by user_id, for every user who is in any view.

    Args:
        month: a month of which every view is in the lake.
        versions: the newest known_at of each table that the month has; each version holds the whole month.
    """
    parts = {view: _newest(view, month, versions.get(view.table.name)) for view in VIEWS}
    users = _everybody([rows["user_id"].combine_chunks() for rows in parts.values()])
    columns = {"user_id": users}
    for view, rows in parts.items():
        of_view = rows["user_id"].combine_chunks()
        if of_view.equals(users):
            columns[view.name] = pa.repeat(True, len(users))
        else:
            at = pc.index_in(users, of_view)
            columns[view.name] = pc.is_valid(at)
            rows = rows.take(at)
        columns |= {feature.name: rows[feature.name] for feature in view.features}
    return pa.table({name: columns[name] for name in SCHEMA.names}, schema=SCHEMA)


def _newest(view: View, month: Month, known_at: dt.datetime | None) -> pa.Table:
    schema = schema_of(view)
    if known_at is None:
        return schema.empty_table()
    without_as_of = schema.remove(schema.get_field_index("as_of"))
    rows = read_columns(pq.ParquetFile(lake_file(view, month)), without_as_of)
    is_newest = pc.equal(rows["known_at"], pa.scalar(known_at, rows["known_at"].type))
    kept = pc.and_(is_newest, pc.invert(rows["is_withdrawn"]))
    return rows if pc.all(kept).as_py() else rows.filter(kept)


def _everybody(parts: list[pa.Array]) -> pa.Array:
    first, *others = parts
    if all(users.equals(first) for users in others):
        # So it is in most months.
        return first
    return pc.unique(pa.concat_arrays(parts)).sort()


# One look-up per user, by the snapshots' key: the users are few, and the history is long.
_VERSIONS = (
    "SELECT w.user_id, s.as_of, s.known_at FROM withdrawn AS w CROSS JOIN LATERAL ("
    " SELECT DISTINCT ON (as_of) as_of, known_at, is_withdrawn FROM {snapshot}"
    " WHERE user_id = w.user_id AND as_of < {before}"
    " AND as_of IN (SELECT as_of FROM online.publications)"
    " ORDER BY as_of DESC, known_at DESC) AS s WHERE NOT s.is_withdrawn"
)
_NEWEST = (
    "LEFT JOIN LATERAL (SELECT * FROM {snapshot} AS s WHERE s.user_id = r.user_id"
    " AND s.as_of = r.as_of ORDER BY s.known_at DESC LIMIT 1) AS {alias} ON NOT {alias}.is_withdrawn"
)


def restore_withdrawn(
    connection: psycopg.Connection, table: sql.Identifier, before: dt.datetime
) -> None:
    """Insert, for each user in the temporary table `withdrawn`, the last version published before `before`.

    Args:
        connection: the publishing transaction.
        table: a table of wide rows, as churn.database.online_tables defines it.
        before: the as_of that the users were withdrawn from.
    """
    versions = sql.SQL(" UNION ALL ").join(
        sql.SQL(_VERSIONS).format(
            snapshot=sql.Identifier(table.snapshot), before=sql.Literal(before)
        )
        for table in PROFILE_TABLES
    )
    joins = sql.SQL(" ").join(
        sql.SQL(_NEWEST).format(
            snapshot=sql.Identifier(table.snapshot), alias=sql.Identifier(table.name)
        )
        for table in PROFILE_TABLES
    )
    connection.execute(
        sql.SQL(
            "INSERT INTO {table} ({names}) SELECT {values} FROM ("
            " SELECT DISTINCT ON (user_id) user_id, as_of, max(known_at) AS known_at"
            " FROM ({versions}) AS v GROUP BY user_id, as_of ORDER BY user_id, as_of DESC"
            ") AS r {joins}"
        ).format(
            table=table,
            names=sql.SQL(", ").join(map(sql.Identifier, COLUMNS)),
            values=sql.SQL(", ").join(_value(name) for name in COLUMNS),
            versions=versions,
            joins=joins,
        )
    )


def _value(column: str) -> sql.Composable:
    for view in VIEWS:
        if column == view.name:
            return sql.SQL("{}.user_id IS NOT NULL").format(sql.Identifier(view.table.name))
        if any(column == feature.name for feature in view.features):
            return sql.Identifier(view.table.name, column)
    return sql.Identifier("r", column)


_ROWS_AT_ONCE = 25_000


@dataclass(frozen=True)
class Publication:
    """What publishing a month did.

    Args:
        known_at: the newest version among the month's tables.
        users: how many users the month has.
        published: how many of them had their online rows written by this publication.
        kept: how many of them had a newer month or version online already.
        withdrawn: how many users were withdrawn because a correction no longer names them.
        fingerprint: a hash of the versions behind the publication.
    """

    known_at: dt.datetime
    users: int
    published: int
    kept: int
    withdrawn: int
    fingerprint: str


# Called with a publication and the name of the table that it is about to give to readers.
Judge = Callable[[Publication, str], None]


def publish(month: Month, judge: Judge | None = None) -> Publication:
    """Publish every feature view of a month at once.

    Args:
        month: a month whose views are in the lake.
        judge: called with the publication and the new table before readers are given it; where it raises,
            they keep the present one.

    Raises:
        ChurnError: a view's file in the lake is older than its snapshot, or missing; or the online table
            cannot be switched, since somebody holds it for too long.
        redis.exceptions.RedisError: readers are given a copy in Redis, which could not be made; they keep
            the one that they have, and publishing again makes it.
    """
    with connect() as connection:
        lock_until_closed(connection, LOCK)
        versions = _versions(connection, month)
        _require_views(month, versions)
        known_at = max(versions.values())
        _make_next(connection, month.as_of, known_at)
        users, published = _copy_month(connection, month, versions, known_at)
        withdrawn = _carry_over(connection, month.as_of, known_at)
        fingerprint = _fingerprint(versions)
        if published + withdrawn:
            _complete(connection)
        # The bulk is on disk before any reader is asked to wait.
        connection.commit()
        publication = Publication(
            known_at, users, published, users - published, withdrawn, fingerprint
        )
        is_changed = bool(published + withdrawn)
        event = MonthClosed(month, known_at, users)
        if judge is not None:
            _judge(connection, judge, publication, NEXT if is_changed else PRESENT)
        record = [month.as_of, known_at, users, fingerprint, CONTRACT.fingerprint]
        copy = None
        if get_settings().online == "redis":
            # Before the switch, so that a month whose copy fails is not published, and is tried again.
            copy, _ = prepare_copy(connection, NEXT if is_changed else PRESENT, month.as_of)
        _switch(connection, record, event, changed=is_changed)
        if copy is not None:
            repeat_patiently(give_copy, copy)
    return publication


def _judge(
    connection: psycopg.Connection, judge: Judge, publication: Publication, table: str
) -> None:
    """Call the judge; where it refuses the publication, drop the table that was built for it.

    Where Postgres does not answer, the table is left to the next publication: the error that matters is the
    judge's, and must not be replaced.
    """
    try:
        judge(publication, table)
    except BaseException:
        with contextlib.suppress(psycopg.Error):
            connection.execute(sql.SQL("DROP TABLE {}").format(NEXT_USERS))
            connection.commit()
        raise


def _versions(connection: psycopg.Connection, month: Month) -> dict[str, dt.datetime]:
    versions = {}
    for table in PROFILE_TABLES:
        query = sql.SQL("SELECT max(known_at) FROM {} WHERE as_of = %s")
        row = connection.execute(
            query.format(sql.Identifier(table.snapshot)), [month.as_of]
        ).fetchone()
        if table.optional and (row is None or row[0] is None):
            # The table is absent from the drop.
            continue
        if row is None or row[0] is None:
            raise ChurnError(
                f"{table.snapshot} holds no rows of this month",
                where=f"online_features {month}",
                remedy=f"materialize {table.snapshot} for {month.partition_key} first",
            )
        versions[table.name] = row[0]
    return versions


def _require_views(month: Month, versions: dict[str, dt.datetime]) -> None:
    for view in VIEWS:
        in_lake = view_version(month, view)
        newest = versions.get(view.table.name)
        if in_lake != newest:
            state = "is missing" if in_lake is None else f"is of {in_lake.isoformat()}"
            raise ChurnError(
                f"the lake's {view.name} {state}, its snapshot of"
                f" {newest.isoformat() if newest else 'no version'}",
                where=f"online_features {month}",
                remedy=f"materialize {view.name} for {month.partition_key} first",
            )


def _make_next(connection: psycopg.Connection, as_of: dt.datetime, known_at: dt.datetime) -> None:
    """Make the next table, empty and without a key, in place of what a killed publication may have left."""
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(NEXT_USERS))
    # An autovacuum would only stand in the way of the switch: the next publication makes a new table anyway.
    connection.execute(
        sql.SQL("CREATE TABLE {} ({}) WITH (autovacuum_enabled = false)").format(
            NEXT_USERS, users_columns()
        )
    )
    # With these defaults, COPY need not carry the same two instants in every row.
    connection.execute(
        sql.SQL("ALTER TABLE {} ALTER as_of SET DEFAULT {}, ALTER known_at SET DEFAULT {}").format(
            NEXT_USERS, sql.Literal(as_of), sql.Literal(known_at)
        )
    )


def _copy_month(
    connection: psycopg.Connection,
    month: Month,
    versions: dict[str, dt.datetime],
    known_at: dt.datetime,
) -> tuple[int, int]:
    """Copy in the month's users who are not online with a newer version.

    Returns:
        How many users the month has, and how many of them were copied.
    """
    online = connection.execute(
        sql.SQL("SELECT user_id FROM {} WHERE (as_of, known_at) > (%s, %s)").format(USERS),
        [month.as_of, known_at],
    )
    newer = pa.array([row[0] for row in online], pa.string())
    rows = month_rows(month, versions)
    publishable = rows.filter(pc.invert(pc.is_in(rows["user_id"], newer))) if len(newer) else rows
    batches = publishable.to_batches(_ROWS_AT_ONCE)
    copy_batches_in(connection, NEXT_USERS, publishable.schema, batches, freeze=True)
    return rows.num_rows, publishable.num_rows


def _carry_over(connection: psycopg.Connection, as_of: dt.datetime, known_at: dt.datetime) -> int:
    """Add all other users who stay online; return how many were withdrawn from the month."""
    values = {"as_of": as_of, "known_at": known_at}
    columns = _common_columns(connection)
    absent = sql.SQL("NOT EXISTS (SELECT FROM {} AS n WHERE n.user_id = o.user_id)").format(
        NEXT_USERS
    )
    connection.execute(
        sql.SQL(
            "INSERT INTO {next} ({columns}) SELECT {columns} FROM {users} AS o"
            " WHERE (as_of < %(as_of)s OR (as_of, known_at) > (%(as_of)s, %(known_at)s)) AND {absent}"
        ).format(next=NEXT_USERS, users=USERS, columns=columns, absent=absent),
        values,
    )
    # As a rule, all rows that are online belong to other months: they were copied above, and this query finds
    # nothing, quickly.
    connection.execute(
        sql.SQL(
            "CREATE TEMP TABLE withdrawn ON COMMIT DROP AS WITH month AS MATERIALIZED"
            " (SELECT user_id FROM {users} WHERE as_of = %(as_of)s AND known_at <= %(known_at)s)"
            " SELECT user_id FROM month AS o WHERE {absent}"
        ).format(users=USERS, absent=absent),
        values,
    )
    row = connection.execute("SELECT count(*) FROM withdrawn").fetchone()
    withdrawn = int(row[0]) if row else 0
    if withdrawn:
        restore_withdrawn(connection, NEXT_USERS, as_of)
    return withdrawn


def _common_columns(connection: psycopg.Connection) -> sql.Composed:
    """Return those columns of the next table that the present one has, too.

    The present one lacks newer columns where a process that still works by an earlier contract published it.
    """
    rows = connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass"
        " AND attnum > 0 AND NOT attisdropped",
        [USERS.as_string(connection)],
    )
    present = {row[0] for row in rows}
    return sql.SQL(", ").join(sql.Identifier(name) for name in COLUMNS if name in present)


def _complete(connection: psycopg.Connection) -> None:
    connection.execute(sql.SQL("ALTER TABLE {} ADD PRIMARY KEY (user_id)").format(NEXT_USERS))
    connection.execute(
        sql.SQL("ALTER TABLE {} ALTER as_of DROP DEFAULT, ALTER known_at DROP DEFAULT").format(
            NEXT_USERS
        )
    )
    # A small sample is enough for reads by key; the number of rows is known from the key.
    connection.execute("SET LOCAL default_statistics_target = 10")
    connection.execute(sql.SQL("ANALYZE {} (user_id, as_of)").format(NEXT_USERS))


def _switch(
    connection: psycopg.Connection, record: list[object], event: MonthClosed, *, changed: bool
) -> None:
    """Replace the present table by the next one and record the publication, in one transaction."""

    def switch() -> None:
        if changed:
            connection.execute(sql.SQL("DROP TABLE {}").format(USERS))
            connection.execute(sql.SQL("ALTER TABLE {} RENAME TO users").format(NEXT_USERS))
        else:
            connection.execute(sql.SQL("DROP TABLE {}").format(NEXT_USERS))
        connection.execute(
            "INSERT INTO online.publications (as_of, known_at, users, fingerprint, contract)"
            " VALUES (%s, %s, %s, %s, %s) ON CONFLICT (as_of, known_at) DO UPDATE"
            " SET users = excluded.users, fingerprint = excluded.fingerprint,"
            " contract = excluded.contract, published_at = excluded.published_at",
            record,
        )
        record_event(connection, event)

    briefly(connection, switch, where="online.users")


def _fingerprint(versions: dict[str, dt.datetime]) -> str:
    lines = "\n".join(f"{name} {known_at.isoformat()}" for name, known_at in versions.items())
    return hashlib.sha256(lines.encode()).hexdigest()
