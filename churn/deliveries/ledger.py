"""The rows of raw.deliveries: which versions of which file were accepted, and when they were known."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from churn.contract.in_force import BY_NAME, LABELS, PROFILE_TABLES
from churn.contract.structure import Table
from churn.database import connected
from churn.errors import ChurnError
from churn.months import Month


@dataclass(frozen=True)
class Delivery:
    """One accepted version of one file of one month; `file` is the table's name."""

    delivery_id: int
    month: Month
    file: str
    sha256: str
    fingerprint: str
    rows: int
    accepted_at: dt.datetime
    known_at: dt.datetime
    # Relative to the deliveries store.
    stored_path: str
    # Why the version could not be loaded, or may not be used; None where it was loaded or never tried.
    unloadable: str | None = None
    # The parts of the contract by which it was read, and by which it is read again. None for deliveries from
    # before that was kept: they are read by the contract in force.
    translation: str | None = None
    # When `unloadable` was changed last; None where it never was, or before that was kept.
    marked_at: dt.datetime | None = None

    @property
    def table(self) -> Table:
        """The file of the contract that this is a version of."""
        return BY_NAME[self.file]


def accepted(
    month: Month, table: Table, connection: psycopg.Connection | None = None
) -> list[Delivery]:
    """Return every accepted version of the file for the month, oldest known first.

    Versions that could not be loaded are among them.

    Args:
        month: the month.
        table: the file.
        connection: an open transaction to read in; by default a new one.
    """
    query = "SELECT * FROM raw.deliveries WHERE month = %s AND file = %s"
    query += " ORDER BY known_at, delivery_id"
    with connected(connection) as reading, reading.cursor(row_factory=dict_row) as cursor:
        cursor.execute(query, [month.first_day, table.name])
        return [_delivery(row) for row in cursor]


def of_all_months(table: Table, connection: psycopg.Connection) -> list[Delivery]:
    """Return every usable version of the file, of every month, oldest known first."""
    query = "SELECT * FROM raw.deliveries WHERE file = %s AND unloadable IS NULL"
    query += " ORDER BY known_at, month"
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(query, [table.name])
        return [_delivery(row) for row in cursor]


def in_force(
    month: Month,
    table: Table,
    at: dt.datetime | None = None,
    connection: psycopg.Connection | None = None,
) -> Delivery | None:
    """Return the newest version that was known at an instant.

    A version that could not be loaded is in force only where there is no other; a later delivery mends it.

    Args:
        month: the month.
        table: the file.
        at: the instant, itself included; None for the newest version of all.
        connection: an open transaction to read in; by default a new one.

    Returns:
        The version, or None where nothing was known by then.
    """
    versions = accepted(month, table, connection)
    known = [version for version in versions if at is None or version.known_at <= at]
    usable = [version for version in known if version.unloadable is None] or known
    return usable[-1] if usable else None


def blocked(month: Month, table: Table, connection: psycopg.Connection) -> dict[int, str]:
    """Return, by delivery_id, why versions are impossible beside other months and not confirmed."""
    query = (
        "SELECT delivery_id, string_agg(what, '; ' ORDER BY rule) FROM raw.blocked"
        " WHERE month = %s AND file = %s GROUP BY delivery_id"
    )
    return dict(connection.execute(query, [month.first_day, table.name]).fetchall())


def has_begun(month: Month, table: Table, connection: psycopg.Connection) -> bool:
    """Return whether the month has a delivery: of labels, where asked for labels; else of profile files."""
    files = [LABELS] if table == LABELS else PROFILE_TABLES
    query = "SELECT EXISTS (SELECT FROM raw.deliveries WHERE month = %s AND file = ANY(%s))"
    row = connection.execute(query, [month.first_day, [file.name for file in files]]).fetchone()
    return bool(row and row[0])


def record(connection: psycopg.Connection, row: Mapping[str, Any]) -> Delivery:
    """Insert one row, every column but delivery_id, into raw.deliveries; return the delivery."""
    statement = sql.SQL("INSERT INTO raw.deliveries ({}) VALUES ({}) RETURNING *").format(
        sql.SQL(", ").join(map(sql.Identifier, row)), sql.SQL(", ").join(map(sql.Placeholder, row))
    )
    with connection.cursor(row_factory=dict_row) as cursor:
        (inserted,) = cursor.execute(statement, row)
    return _delivery(inserted)


def keep_first_month(connection: psycopg.Connection, first: Month) -> None:
    """Record which month is month_000; once something has been delivered, it can no longer change.

    With another first month, every drop's name would mean another month, and the graph would have other
    partitions.

    Raises:
        ChurnError: deliveries are here from when CHURN_FIRST_MONTH was another month.
    """
    row = connection.execute("SELECT first_month FROM raw.calendar").fetchone()
    if row is not None and row[0] == first.first_day:
        return
    has_deliveries = connection.execute("SELECT FROM raw.deliveries LIMIT 1").fetchone() is not None
    if row is not None and has_deliveries:
        kept = Month(row[0])
        raise ChurnError(
            f"CHURN_FIRST_MONTH is {first}, but month_000 of the deliveries here is {kept}",
            where=f"database {connection.info.dbname}",
            remedy=f"set CHURN_FIRST_MONTH={kept}, or begin in a state folder of its own: CHURN_HOME=other",
        )
    connection.execute(
        "INSERT INTO raw.calendar (first_month) VALUES (%s)"
        " ON CONFLICT (singleton) DO UPDATE SET first_month = excluded.first_month",
        [first.first_day],
    )


def mark_unloadable(connection: psycopg.Connection, delivery_id: int, reason: str | None) -> None:
    """Record why a version could not be loaded, or may not be used; None clears it once it was loaded."""
    connection.execute(
        "UPDATE raw.deliveries SET unloadable = %(reason)s, marked_at = clock_timestamp()"
        " WHERE delivery_id = %(delivery)s AND unloadable IS DISTINCT FROM %(reason)s",
        {"reason": reason, "delivery": delivery_id},
    )


def _delivery(row: dict[str, Any]) -> Delivery:
    return Delivery(**{**row, "month": Month(row["month"])})
