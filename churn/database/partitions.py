"""Partitions: rows that arrive together get a table of their own, which is attached once it is filled.

Keys are built once over all rows, not row by row; existing rows are neither read nor locked meanwhile; and a
month costs the same, however many came before it.
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
    """Return the name of one delivery's partition of a raw table."""
    return sql.Identifier(SCHEMA, f"{table.name}_{delivery_id}")


def snapshot_partition(table: Table, month: Month) -> sql.Identifier:
    """Return the name of one month's partition of a snapshot table."""
    return sql.Identifier(SCHEMA, f"{table.snapshot}_{month.first_day:%Y_%m}")


def exists(connection: psycopg.Connection, partition: sql.Identifier) -> bool:
    """Return whether the partition exists; if it does, it is attached and complete."""
    row = connection.execute("SELECT to_regclass(%s)", [partition.as_string(connection)]).fetchone()
    return row is not None and row[0] is not None


@contextmanager
def new_partition(
    connection: psycopg.Connection, partition: sql.Identifier, parent: sql.Identifier, value: object
) -> Iterator[None]:
    """Make an empty table for the block to fill; then build its keys and attach it to `parent`.

    Args:
        connection: an open transaction, in which all of it happens or nothing does.
        partition: the name of the new table.
        parent: the table, which is partitioned by list.
        value: the value of the partitioning column in every row of the new table.
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
