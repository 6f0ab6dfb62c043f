"""Publishing a month online: the next table is built aside, then switched in, and never backwards in time.

Each user is online with one version (as_of, known_at) of all views; only a version that is not older
replaces it. Readers see the table before or after a publication; they wait for the moment of the switch at
most. Users whom a correction withdraws from a month get that of an earlier published month back.
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
from churn.lake.files import ARROW_TYPES, lake_file, read_columns, schema_of, view_version
from churn.months import Month

_VIEWS = {view.name for view in VIEWS}
_DTYPES = {feature.name: feature.dtype for view in VIEWS for feature in view.features}
# The wide row without its version, which all rows of a month share.
SCHEMA = pa.schema(
    [
        (name, pa.bool_() if name in _VIEWS else ARROW_TYPES[_DTYPES.get(name, "String")])
        for name in COLUMNS
        if name not in {"as_of", "known_at"}
    ]
)


def month_rows(month: Month, versions: Mapping[str, dt.datetime]) -> pa.Table:
    """Return the wide rows of a month's users (SCHEMA), sorted by user_id: who is in any view has a row.

    Args:
        month: a month of which every view is in the lake.
        versions: the newest known_at of each table that the month has; a version holds its month whole.
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
        return first  # as in most months
    return pc.unique(pa.concat_arrays(parts)).sort()


# Per user by the snapshots' key: these are few, and the history is long.
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
    """Insert the last published version before `before` of each user of the temporary table `withdrawn`.

    Args:
        connection: the publishing transaction.
        table: wide rows, as churn.database.online_tables makes them.
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
    """What publishing a month did."""

    known_at: dt.datetime  # newest version among the month's tables
    users: int  # users of the month
    published: int  # users whose online rows this publication wrote
    kept: int  # users who already had a newer month or version online
    withdrawn: int  # users taken back because a correction no longer names them
    fingerprint: str  # of the versions behind the publication


Judge = Callable[[Publication, str], None]  # and the table


def publish(month: Month, judge: Judge | None = None) -> Publication:
    """Publish every feature view of a month at once.

    Args:
        month: whose views are in the lake.
        judge: looks at the publication, and at the table that readers are to be given, before they are;
            what it raises leaves them the present one.

    Raises:
        ChurnError: a view's file in the lake is older than its snapshot, or missing; or somebody holds the
            online table so long that it cannot be switched.
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
        connection.commit()  # the bulk is on the disk before readers are asked to wait
        publication = Publication(
            known_at, users, published, users - published, withdrawn, fingerprint
        )
        is_changed = bool(published + withdrawn)
        if judge is not None:
            _judge(connection, judge, publication, NEXT if is_changed else PRESENT)
        record = [month.as_of, known_at, users, fingerprint, CONTRACT.fingerprint]
        _switch(connection, record, changed=is_changed)
    return publication


def _judge(
    connection: psycopg.Connection, judge: Judge, publication: Publication, table: str
) -> None:
    """Let a publication be judged; a refused one leaves nothing.

    Where Postgres does not answer, the next publication clears away what is left of this one: why it was
    refused must not be lost for it.
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
            continue  # absent from the drop
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
    """Make the next table, empty and without a key; what a killed publication left goes."""
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(NEXT_USERS))
    # No autovacuum: it would only stand in the way of the switch, and the next publication starts afresh.
    connection.execute(
        sql.SQL("CREATE TABLE {} ({}) WITH (autovacuum_enabled = false)").format(
            NEXT_USERS, users_columns()
        )
    )
    connection.execute(  # so that COPY need not carry the same two instants in every row
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
    """Copy in the month's users who are not online with a newer version; count all, and those copied."""
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
    """Add everybody else who stays online; return how many were withdrawn from the month."""
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
    # Off for the bulk above, whose rows are all of other months as a rule, and this finds none at once.
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
    """Return the columns that the present table has of the next one's.

    It lacks those of a contract that grew meanwhile where somebody published by the contract of before.
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
    # Few samples are enough for reads by key; the number of rows is known from the key.
    connection.execute("SET LOCAL default_statistics_target = 10")
    connection.execute(sql.SQL("ANALYZE {} (user_id, as_of)").format(NEXT_USERS))


def _switch(connection: psycopg.Connection, record: list[object], *, changed: bool) -> None:
    """Put the next table in the place of the present one and record the publication, in one transaction."""

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

    briefly(connection, switch, where="online.users")


def _fingerprint(versions: dict[str, dt.datetime]) -> str:
    lines = "\n".join(f"{name} {known_at.isoformat()}" for name, known_at in versions.items())
    return hashlib.sha256(lines.encode()).hexdigest()
