"""Raw tables: the rows of each accepted delivery in Postgres, typed but otherwise as delivered."""

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pyarrow as pa
from psycopg import sql

from churn.contract.in_force import USERS
from churn.contract.structure import Table
from churn.database import connect, lock
from churn.database.copying import copy_batches_in
from churn.database.partitions import exists, new_partition, raw_partition
from churn.deliveries import Delivery, RefusedDrop, accepted, read_accepted
from churn.deliveries.files import plain_schema
from churn.deliveries.ledger import mark_unloadable
from churn.deliveries.problems import CAUSED_BY_CONTENT
from churn.errors import ChurnError
from churn.fingerprint import ByUser
from churn.months import Month

_BATCH = 65_536  # rows
# Errors that will occur again at the next try.
_LASTING = (RefusedDrop, *CAUSED_BY_CONTENT)


@dataclass(frozen=True)
class RawMonth:
    """What a raw table holds for one month.

    Args:
        newest: the newest version.
        versions: how many versions were accepted.
        loaded: how many of them this load added.
        by_user: the newest version's rows.
        passed_over: the versions that cannot be loaded, each with its reason.
    """

    newest: Delivery
    versions: int
    loaded: int
    by_user: ByUser
    passed_over: tuple[Delivery, ...] = ()


class UnknownUsers(ChurnError):
    """A file names users who are in no users.csv of its month."""


def load_raw(month: Month, table: Table) -> RawMonth:
    """Load the accepted deliveries of one file and month that Postgres does not hold yet.

    Each version is a partition of its own. It is one transaction: all missing versions are loaded, or none.
    Loading again changes nothing. An older version that cannot be loaded does not stand in the way of the
    newest one: it is passed over, marked in raw.deliveries with the reason, and tried again by the next load.
    Until then it counts as never known. A newest version that cannot be loaded is marked, and the load fails.

    Raises:
        ChurnError: no delivery was accepted, or a stored file no longer passes its rules.
        UnknownUsers: the newest version names users whom the month does not have.
    """
    deliveries = accepted(month, table)
    if not deliveries:
        raise ChurnError(
            f"no {table.shown_file} has been accepted for this month",
            where=f"{table.name} {month}",
            remedy=f"deliver the drop: churn deliver DIR (a folder with {table.shown_file})",
        )
    newest = deliveries[-1]
    try:
        with connect() as connection:
            lock(connection, f"raw.{table.name}.{month}")
            return _load_missing(connection, deliveries)
    except _LASTING as error:
        with connect() as connection:
            mark_unloadable(connection, newest.delivery_id, _reason(error))
        raise


def _load_missing(connection: psycopg.Connection, deliveries: list[Delivery]) -> RawMonth:
    *older, newest = deliveries
    loaded = sum(_try_to_load(connection, delivery, deliveries) for delivery in older)
    by_user = ByUser(read_accepted(newest))
    if not _is_loaded(connection, newest):
        _load(connection, newest, by_user)
        mark_unloadable(connection, newest.delivery_id, None)
        loaded += 1
    if newest.table is not USERS:
        _refuse_strangers(connection, newest)
    passed_over = tuple(
        each for each in accepted(newest.month, newest.table, connection) if each.unloadable
    )
    return RawMonth(newest, len(deliveries), loaded, by_user, passed_over)


def _try_to_load(
    connection: psycopg.Connection, delivery: Delivery, deliveries: list[Delivery]
) -> bool:
    """Load an older version if it is missing; return whether it was loaded, and mark it if it cannot be."""
    replaced = any(
        other.known_at == delivery.known_at and other.delivery_id > delivery.delivery_id
        for other in deliveries
    )
    if replaced or _is_loaded(connection, delivery):
        return False
    try:
        with connection.transaction():
            _load(connection, delivery, ByUser(read_accepted(delivery)))
    except (OSError, *_LASTING) as error:
        mark_unloadable(connection, delivery.delivery_id, _reason(error))
        return False
    mark_unloadable(connection, delivery.delivery_id, None)
    return True


def _is_loaded(connection: psycopg.Connection, delivery: Delivery) -> bool:
    return exists(connection, raw_partition(delivery.table, delivery.delivery_id))


def _reason(error: Exception) -> str:
    """Return the reason in one line, for the records."""
    first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    problems = getattr(error, "problems", ())
    return f"{first}: {problems[0].what}"[:500] if problems else first[:500]


def newest_rows(connection: psycopg.Connection, month: Month, table: Table) -> int:
    """Return how many rows the newest version of a month has that is loaded and not blocked."""
    query = sql.SQL(
        "SELECT count(*) FROM raw.{table} WHERE delivery_id = ("
        " SELECT delivery_id FROM raw.deliveries AS d WHERE month = %s AND file = %s AND EXISTS ("
        "  SELECT 1 FROM raw.{table} AS r WHERE r.delivery_id = d.delivery_id)"
        " AND unloadable IS NULL AND delivery_id NOT IN (SELECT delivery_id FROM raw.blocked)"
        " ORDER BY known_at DESC LIMIT 1)"
    ).format(table=sql.Identifier(table.name))
    row = connection.execute(query, [month.first_day, table.name]).fetchone()
    return int(row[0]) if row else 0


def _load(connection: psycopg.Connection, delivery: Delivery, by_user: ByUser) -> None:
    """Write one version in the order of its key, so that whatever reads it later finds it sorted."""
    partition = raw_partition(delivery.table, delivery.delivery_id)
    parent = sql.Identifier("raw", delivery.file)
    first = pa.field("delivery_id", pa.int64())
    schema = pa.schema([first, *plain_schema(delivery.table)])
    with new_partition(connection, partition, parent, delivery.delivery_id):
        copy_batches_in(
            connection, partition, schema, _batches(by_user, schema, delivery), freeze=True
        )


def _batches(by_user: ByUser, schema: pa.Schema, delivery: Delivery) -> Iterator[pa.RecordBatch]:
    rows, indices = by_user.rows.combine_chunks(), by_user.order.indices
    for start in range(0, rows.num_rows, _BATCH):
        part = rows.slice(start, _BATCH)
        if indices is not None:
            part = rows.take(indices.slice(start, _BATCH))
        ids = pa.repeat(pa.scalar(delivery.delivery_id), part.num_rows)
        yield from part.add_column(0, "delivery_id", ids).cast(schema).to_batches()


def _refuse_strangers(connection: psycopg.Connection, delivery: Delivery) -> None:
    users = connection.execute(
        "SELECT delivery_id FROM raw.deliveries WHERE month = %s AND file = %s",
        [delivery.month.first_day, USERS.name],
    ).fetchall()
    query = sql.SQL(
        "SELECT user_id FROM raw.{} AS r WHERE delivery_id = {} AND NOT EXISTS ("
        " SELECT 1 FROM {} AS u WHERE u.user_id = r.user_id AND u.delivery_id IN ({}))"
        ' ORDER BY user_id COLLATE "C"'
    ).format(
        sql.Identifier(delivery.file),
        sql.Literal(delivery.delivery_id),
        sql.Identifier("raw", USERS.name),
        sql.SQL(", ").join(sql.Literal(row[0]) for row in users or [(None,)]),
    )
    strangers = [row[0] for row in connection.execute(query)]
    if strangers:
        shown = ", ".join(strangers[:5]) + (", ..." if len(strangers) > 5 else "")
        month = delivery.month
        raise UnknownUsers(
            f"{len(strangers):,} users are not in {USERS.shown_file} of this month: {shown}",
            where=f"{delivery.table.shown_file} {month}, column user_id",
            remedy=f"materialize {USERS.name} for {month.partition_key}, or deliver a corrected drop",
        )
