"""Snapshots: every version of a month, by (user_id, as_of, known_at); nothing is ever overwritten."""

import datetime as dt
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import psycopg
from psycopg import sql

from churn.contract.structure import Table
from churn.database import connect, lock, refresh_statistics
from churn.database.partitions import exists, new_partition, snapshot_partition
from churn.deliveries.ledger import accepted
from churn.errors import ChurnError
from churn.months import Month
from churn.warehouse.raw import newest_rows


@dataclass(frozen=True)
class SnapshotMonth:
    """What a snapshot table holds for one month.

    Args:
        rows: how many users the newest version has.
        withdrawn: how many users of earlier versions are not in the newest.
        versions: the known_at of each version, oldest first.
        fingerprint: a hash of every version's content and known_at.
        raw_rows: how many rows the newest raw version has, counted independently of what was added.
    """

    rows: int
    withdrawn: int
    versions: tuple[dt.datetime, ...]
    fingerprint: str
    raw_rows: int


def build_snapshot(
    month: Month, table: Table, judge: Callable[[SnapshotMonth], None] | None = None
) -> SnapshotMonth:
    """Add the raw versions of a month that its snapshot does not hold yet, in one transaction.

    A version replaces the whole file of that month, so a user who is no longer in it gets a row with
    `is_withdrawn` at that known_at; earlier versions stay as they are. A version that is impossible beside
    other months, and that nobody has confirmed, is left out.

    Args:
        month: the month.
        table: the table.
        judge: called with the month before it is committed; where it raises, nothing changes.

    Raises:
        ChurnError: there are no raw rows of the month that may be used.
    """
    with connect() as connection:
        lock(connection, f"{table.snapshot}.{month}")
        versions = _raw_versions(connection, month, table)
        if not versions and table.optional and not accepted(month, table, connection):
            # The table is absent from the drop.
            return SnapshotMonth(0, 0, (), _fingerprint(versions), 0)
        if not versions:
            raise ChurnError(
                f"raw.{table.name} holds no rows of this month that may be used",
                where=f"{table.snapshot} {month}",
                remedy=f"materialize {table.name} for {month.partition_key} first; its check `possible`"
                " says where they cannot be right",
            )
        due = [each for each in versions if not _holds(connection, month, table, each[1])]
        for delivery_id, known_at, _ in due:
            _add_version(connection, month, table, delivery_id, known_at)
        if due:
            _record_build(connection, month, table)
        rows, withdrawn = _counts(connection, month, table)
        known_at_of_each = tuple(version[1] for version in versions)
        # On this very connection: a second one could wait for locks that this one holds, and Postgres would
        # not see the deadlock.
        raw_rows = newest_rows(connection, month, table)
        snapshot = SnapshotMonth(
            rows, withdrawn, known_at_of_each, _fingerprint(versions), raw_rows
        )
        if judge is not None:
            judge(snapshot)
    return snapshot


def _fingerprint(versions: Iterable[tuple[int, dt.datetime, str]]) -> str:
    digest = hashlib.sha256()
    for _, known_at, fingerprint in versions:
        digest.update(f"{known_at.isoformat()} {fingerprint}\n".encode())
    return digest.hexdigest()


def current_rows(month: Month, table: Table) -> int:
    """Return how many users are in the newest version of a month."""
    with connect() as connection:
        return _counts(connection, month, table)[0]


def _raw_versions(
    connection: psycopg.Connection, month: Month, table: Table
) -> list[tuple[int, dt.datetime, str]]:
    query = sql.SQL(
        "SELECT delivery_id, known_at, fingerprint FROM raw.deliveries AS d"
        " WHERE month = %s AND file = %s"
        " AND EXISTS (SELECT 1 FROM raw.{} AS r WHERE r.delivery_id = d.delivery_id)"
        " AND unloadable IS NULL AND delivery_id NOT IN (SELECT delivery_id FROM raw.blocked)"
        " ORDER BY known_at"
    ).format(sql.Identifier(table.name))
    return connection.execute(query, [month.first_day, table.name]).fetchall()


def _holds(
    connection: psycopg.Connection, month: Month, table: Table, known_at: dt.datetime
) -> bool:
    query = sql.SQL("SELECT 1 FROM {} WHERE as_of = %s AND known_at = %s LIMIT 1")
    cursor = connection.execute(
        query.format(sql.Identifier(table.snapshot)), [month.as_of, known_at]
    )
    return cursor.fetchone() is not None


def _add_version(
    connection: psycopg.Connection,
    month: Month,
    table: Table,
    delivery_id: int,
    known_at: dt.datetime,
) -> None:
    partition, parent = snapshot_partition(table, month), sql.Identifier(table.snapshot)
    insert = sql.SQL(
        "INSERT INTO {partition} (user_id, as_of, known_at, {columns})"
        " SELECT user_id, %(as_of)s, %(known_at)s, {columns} FROM {raw}"
        " WHERE delivery_id = %(delivery_id)s"
    ).format(
        partition=partition,
        raw=sql.Identifier("raw", table.name),
        columns=sql.SQL(", ").join(sql.Identifier(c.name) for c in table.values),
    )
    values = {"as_of": month.as_of, "known_at": known_at, "delivery_id": delivery_id}
    if not exists(connection, partition):
        with new_partition(connection, partition, parent, month.as_of):
            connection.execute(insert, values)
        return
    connection.execute(insert, values)
    connection.execute(
        sql.SQL(
            "INSERT INTO {partition} (user_id, as_of, known_at, is_withdrawn)"
            " SELECT user_id, %(as_of)s, %(known_at)s, true FROM ("
            "  SELECT DISTINCT ON (user_id) user_id, known_at, is_withdrawn FROM {partition}"
            "  WHERE known_at <= %(known_at)s ORDER BY user_id, known_at DESC) AS latest"
            " WHERE known_at < %(known_at)s AND NOT is_withdrawn"
        ).format(partition=partition),
        values,
    )
    _mend_next_version(connection, partition, known_at)
    refresh_statistics(connection, partition)


def _mend_next_version(
    connection: psycopg.Connection, partition: sql.Identifier, known_at: dt.datetime
) -> None:
    """Let the version after this one withdraw whom it does not name, as if it had been added after it.

    A version may be added late: where its file could not be read at first, later ones were added before it.
    """
    row = connection.execute(
        sql.SQL("SELECT min(known_at) FROM {} WHERE known_at > %s").format(partition), [known_at]
    ).fetchone()
    if row is None or row[0] is None:
        return
    versions = {"added": known_at, "next": row[0]}
    connection.execute(
        sql.SQL(
            "INSERT INTO {partition} (user_id, as_of, known_at, is_withdrawn)"
            " SELECT user_id, as_of, %(next)s, true FROM {partition} AS a"
            " WHERE known_at = %(added)s AND NOT is_withdrawn AND NOT EXISTS ("
            "  SELECT FROM {partition} AS n WHERE n.known_at = %(next)s AND n.user_id = a.user_id)"
        ).format(partition=partition),
        versions,
    )
    # Whom the version now withdraws itself is not withdrawn once more by the next.
    connection.execute(
        sql.SQL(
            "DELETE FROM {partition} AS n USING {partition} AS a WHERE n.known_at = %(next)s"
            " AND n.is_withdrawn AND a.known_at = %(added)s AND a.is_withdrawn"
            " AND a.user_id = n.user_id"
        ).format(partition=partition),
        versions,
    )


def _record_build(connection: psycopg.Connection, month: Month, table: Table) -> None:
    """Write down when the month was added to last, for those who read what has changed since."""
    connection.execute(
        "INSERT INTO raw.snapshot_builds (file, as_of) VALUES (%s, %s)"
        " ON CONFLICT (file, as_of) DO UPDATE SET recorded_at = clock_timestamp()",
        [table.name, month.as_of],
    )


def _counts(connection: psycopg.Connection, month: Month, table: Table) -> tuple[int, int]:
    latest = sql.SQL("SELECT is_withdrawn FROM {} WHERE as_of = %(as_of)s").format(
        sql.Identifier(table.snapshot)
    )
    if _has_versions(connection, month, table):
        latest = sql.SQL(
            "SELECT DISTINCT ON (user_id) is_withdrawn FROM {}"
            " WHERE as_of = %(as_of)s ORDER BY user_id, known_at DESC"
        ).format(sql.Identifier(table.snapshot))
    query = sql.SQL(
        "SELECT count(*) FILTER (WHERE NOT is_withdrawn), count(*) FILTER (WHERE is_withdrawn)"
        " FROM ({}) AS latest"
    ).format(latest)
    row = connection.execute(query, {"as_of": month.as_of}).fetchone()
    assert row is not None  # noqa: S101  (an aggregate always returns a row)
    return int(row[0]), int(row[1])


def _has_versions(connection: psycopg.Connection, month: Month, table: Table) -> bool:
    """Return whether the month has more than one version; with one, every row is its user's latest."""
    query = sql.SQL("SELECT min(known_at) < max(known_at) FROM {} WHERE as_of = %s")
    cursor = connection.execute(query.format(sql.Identifier(table.snapshot)), [month.as_of])
    return bool((cursor.fetchone() or [False])[0])
