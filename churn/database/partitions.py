"""Partitions: rows that come in together get a table of their own, attached to the whole once filled.

Keys are built once over all rows and not row by row, what is there already is neither read nor locked
meanwhile, and a month costs the same however many came before it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from churn.contract.structure import Table
from churn.database import refresh_statistics
from churn.months import Month

SCHEMA = "partitions"


def raw_partition(table: Table, delivery_id: int) -> sql.Identifier:
    """Return the name of one delivery's part of a raw table."""
    return sql.Identifier(SCHEMA, f"{table.name}_{delivery_id}")


def snapshot_partition(table: Table, month: Month) -> sql.Identifier:
    """Return the name of one month's part of a snapshot table."""
    return sql.Identifier(SCHEMA, f"{table.snapshot}_{month.first_day:%Y_%m}")


def exists(connection: psycopg.Connection, partition: sql.Identifier) -> bool:
    """Return whether the partition is there; where it is, it is part of its table and whole."""
    row = connection.execute("SELECT to_regclass(%s)", [partition.as_string(connection)]).fetchone()
    return row is not None and row[0] is not None


@contextmanager
def new_partition(
    connection: psycopg.Connection, partition: sql.Identifier, parent: sql.Identifier, value: object
) -> Iterator[None]:
    """Make an empty table for the block to fill; then build its keys and attach it to `parent`.

    Args:
        connection: an open transaction, in which all of it happens or nothing.
        partition: the name of the new table.
        parent: the table, partitioned by list.
        value: what the partitioning column holds in every row of the new table.
    """
    names = {"partition": partition, "parent": parent, "value": sql.Literal(value)}
    connection.execute(
        sql.SQL(
            "CREATE TABLE {partition} (LIKE {parent} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"
        ).format(**names)
    )
    yield
    connection.execute(
        sql.SQL("ALTER TABLE {parent} ATTACH PARTITION {partition} FOR VALUES IN ({value})").format(
            **names
        )
    )
    refresh_statistics(connection, partition)


def ensure_month(connection: psycopg.Connection, table: Table, month: Month) -> None:
    """Make an empty partition for a month of a snapshot table where there is none."""
    partition = snapshot_partition(table, month)
    if not exists(connection, partition):
        with new_partition(connection, partition, sql.Identifier(table.snapshot), month.as_of):
            pass
