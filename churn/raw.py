"""Raw tables: the rows of each accepted delivery, typed, as delivered, in Postgres."""

from dataclasses import dataclass

import psycopg
import pyarrow as pa
from psycopg import sql

from churn.contract.tables import USERS, Table
from churn.database import connect, lock
from churn.database.copying import copy_in
from churn.deliveries import Delivery, accepted, read_accepted
from churn.errors import ChurnError
from churn.months import Month


@dataclass(frozen=True)
class RawMonth:
    """What a raw table holds for one month."""

    newest: Delivery
    versions: int
    loaded: int  # versions that this load added
    rows: pa.Table  # the newest version's rows


class UnknownUsers(ChurnError):
    """A file names users whom no users.csv of its month knows."""


def load_raw(month: Month, table: Table) -> RawMonth:
    """Load the accepted deliveries of one file and month that Postgres does not hold yet.

    One transaction: either every missing version is in, or none. Loading again changes nothing.

    Raises:
        ChurnError: no delivery was accepted, or a stored file no longer passes its rules.
        UnknownUsers: the newest version does not agree with the month's users.
    """
    deliveries = accepted(month, table)
    if not deliveries:
        raise ChurnError(
            f"no {table.file} has been accepted for this month",
            where=f"{table.name} {month}",
            remedy=f"deliver the drop: churn deliver DIR (a folder with {table.file})",
        )
    # Read and validate before anything is written.
    contents = {delivery.delivery_id: read_accepted(delivery) for delivery in deliveries}
    with connect() as connection:
        lock(connection, f"raw.{table.name}.{month}")
        if table is not USERS:
            _refuse_strangers(connection, month, table, contents[deliveries[-1].delivery_id])
        missing = [d for d in deliveries if not _is_loaded(connection, table, d)]
        for delivery in missing:
            rows = contents[delivery.delivery_id]
            ids = pa.repeat(pa.scalar(delivery.delivery_id), rows.num_rows)
            copy_in(
                connection,
                sql.Identifier("raw", table.name),
                rows.add_column(0, "delivery_id", ids),
            )
    newest = deliveries[-1]
    return RawMonth(newest, len(deliveries), len(missing), contents[newest.delivery_id])


def newest_rows(month: Month, table: Table) -> int:
    """Return how many rows the newest loaded version of a month has."""
    query = sql.SQL(
        "SELECT count(*) FROM raw.{table} WHERE delivery_id = ("
        " SELECT delivery_id FROM raw.deliveries AS d WHERE month = %s AND file = %s AND EXISTS ("
        "  SELECT 1 FROM raw.{table} AS r WHERE r.delivery_id = d.delivery_id)"
        " ORDER BY known_at DESC LIMIT 1)"
    ).format(table=sql.Identifier(table.name))
    with connect() as connection:
        row = connection.execute(query, [month.first_day, table.name]).fetchone()
    return int(row[0]) if row else 0


def _refuse_strangers(
    connection: psycopg.Connection, month: Month, table: Table, rows: pa.Table
) -> None:
    known = {
        row[0]
        for row in connection.execute(
            "SELECT DISTINCT user_id FROM raw.users JOIN raw.deliveries USING (delivery_id)"
            " WHERE month = %s AND file = %s",
            [month.first_day, USERS.name],
        )
    }
    strangers = sorted(set(rows["user_id"].to_pylist()) - known)
    if strangers:
        shown = ", ".join(strangers[:5]) + (", ..." if len(strangers) > 5 else "")
        raise UnknownUsers(
            f"{len(strangers):,} users are not in {USERS.file} of this month: {shown}",
            where=f"{table.file} {month}, column user_id",
            remedy=f"materialize {USERS.name} for {month.partition_key}, or deliver a corrected drop",
        )


def _is_loaded(connection: psycopg.Connection, table: Table, delivery: Delivery) -> bool:
    query = sql.SQL("SELECT 1 FROM raw.{} WHERE delivery_id = %s LIMIT 1")
    found = connection.execute(
        query.format(sql.Identifier(table.name)), [delivery.delivery_id]
    ).fetchone()
    return found is not None
