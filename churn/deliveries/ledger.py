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
from churn.database import connect
from churn.errors import ChurnError
from churn.months import Month


@dataclass(frozen=True)
class Delivery:
    """One accepted version of one file of one month."""

    delivery_id: int
    month: Month
    file: str  # the table's name, `users`
    sha256: str
    fingerprint: str
    rows: int
    accepted_at: dt.datetime
    known_at: dt.datetime
    stored_path: str  # in the deliveries store
    # Why it could not be loaded or, replaced by now, could not be; None where it was or was not tried.
    unloadable: str | None = None
    # What of the contract decided how it was read, and decides it again; None where it was taken in before
    # that was kept: then the contract in force does.
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
        connection: an open transaction to read in; a new one where none is given.
    """
    if connection is None:
        with connect() as opened:
            return accepted(month, table, opened)
    query = "SELECT * FROM raw.deliveries WHERE month = %s AND file = %s"
    query += " ORDER BY known_at, delivery_id"
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(query, [month.first_day, table.name])
        return [_delivery(row) for row in cursor]


def of_all_months(table: Table, connection: psycopg.Connection) -> list[Delivery]:
    """Return every version of the file that anybody knew, of every month, oldest known first."""
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
    """Return the newest version known at the instant `at` (none: of all), None where there is none.

    A version that could not be loaded is in force where there is no other: what follows it heals it.
    """
    versions = accepted(month, table, connection)
    known = [version for version in versions if at is None or version.known_at <= at]
    usable = [version for version in known if version.unloadable is None] or known
    return usable[-1] if usable else None


def blocked(month: Month, table: Table, connection: psycopg.Connection) -> dict[int, str]:
    """Return why versions of the file cannot be beside other months, by id, where nobody confirmed it."""
    query = (
        "SELECT delivery_id, string_agg(what, '; ' ORDER BY rule) FROM raw.blocked"
        " WHERE month = %s AND file = %s GROUP BY delivery_id"
    )
    return dict(connection.execute(query, [month.first_day, table.name]).fetchall())


def has_begun(month: Month, table: Table, connection: psycopg.Connection) -> bool:
    """Return whether the month has a first delivery: of labels for labels, else of profile files."""
    files = [LABELS] if table == LABELS else PROFILE_TABLES
    query = "SELECT EXISTS (SELECT FROM raw.deliveries WHERE month = %s AND file = ANY(%s))"
    row = connection.execute(query, [month.first_day, [file.name for file in files]]).fetchone()
    return bool(row and row[0])


def record(connection: psycopg.Connection, row: Mapping[str, Any]) -> Delivery:
    """Insert one row into raw.deliveries: every column but delivery_id."""
    statement = sql.SQL("INSERT INTO raw.deliveries ({}) VALUES ({}) RETURNING *").format(
        sql.SQL(", ").join(map(sql.Identifier, row)), sql.SQL(", ").join(map(sql.Placeholder, row))
    )
    with connection.cursor(row_factory=dict_row) as cursor:
        (inserted,) = cursor.execute(statement, row)
    return _delivery(inserted)


def keep_first_month(connection: psycopg.Connection, first: Month) -> None:
    """Write down which month is month_000, as long as nothing has been delivered; then it stays.

    With another one every name of a drop would mean another month, and the graph other partitions.

    Raises:
        ChurnError: deliveries are here, made when CHURN_FIRST_MONTH was another month.
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
    """Write down why a version could not be loaded, or may not be used; None: by now it was."""
    connection.execute(
        "UPDATE raw.deliveries SET unloadable = %(reason)s, marked_at = clock_timestamp()"
        " WHERE delivery_id = %(delivery)s AND unloadable IS DISTINCT FROM %(reason)s",
        {"reason": reason, "delivery": delivery_id},
    )


def _delivery(row: dict[str, Any]) -> Delivery:
    return Delivery(**{**row, "month": Month(row["month"])})
