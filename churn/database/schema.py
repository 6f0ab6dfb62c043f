"""The DDL of the contract's tables, generated from churn.contract so that no list is kept twice."""

import hashlib
from collections.abc import Iterator

import psycopg
from psycopg import sql

from churn.contract.in_force import CONTRACT
from churn.contract.structure import Contract, Table
from churn.contract.types import COLUMN_TYPES
from churn.database import online_tables
from churn.database.partitions import SCHEMA as PARTITIONS
from churn.database.retention import RETENTION_VIEWS
from churn.database.retention import SCHEMA as RETENTION
from churn.database.tables import STATEMENTS

# Why a version could not be loaded stands in `unloadable`, null where it could or was not tried. Such a
# version is in no order with the others: where none was ever loaded, the one that heals the month is known
# as the first would have been. `translation` is what of the contract decided how the files were read, null
# for what was taken in before that was kept. `marked_at` is when `unloadable` was changed last.
_DELIVERIES = """
CREATE TABLE IF NOT EXISTS raw.deliveries (
    delivery_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    month date NOT NULL CHECK (extract(day FROM month) = 1),
    file text NOT NULL,
    sha256 text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    fingerprint text NOT NULL,
    rows bigint NOT NULL CHECK (rows > 0),
    accepted_at timestamptz NOT NULL,
    known_at timestamptz NOT NULL,
    stored_path text NOT NULL,
    unloadable text,
    translation text,
    marked_at timestamptz
)"""
_ONE_VERSION_AT_A_TIME = """
CREATE UNIQUE INDEX IF NOT EXISTS deliveries_version ON raw.deliveries (month, file, known_at)
    WHERE unloadable IS NULL"""

# CHURN_FIRST_MONTH as it was when the first delivery was accepted; month_000 has meant that month since.
_CALENDAR = """
CREATE TABLE IF NOT EXISTS raw.calendar (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    first_month date NOT NULL
)"""


# When a version of a table's month was last added to its snapshot; a delivery is accepted before.
_SNAPSHOT_BUILDS = """
CREATE TABLE IF NOT EXISTS raw.snapshot_builds (
    file text NOT NULL,
    as_of timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (file, as_of)
)"""


def statements(contract: Contract = CONTRACT) -> Iterator[sql.SQL | sql.Composed]:
    """Yield the whole schema, with its signature at the end; each statement may be run again."""
    yield from _everything(contract)
    yield sql.SQL("COMMENT ON SCHEMA raw IS {}").format(sql.Literal(_signature(contract)))


def is_this_schema(connection: psycopg.Connection, contract: Contract = CONTRACT) -> bool:
    """Return whether all our tables are there, as this code makes them for this contract."""
    return signature_there(connection) == _signature(contract)


def signature_there(connection: psycopg.Connection) -> str | None:
    """Return the signature of the existing tables; None where there are none."""
    row = connection.execute(
        "SELECT coalesce(obj_description(oid, 'pg_namespace'), '') FROM pg_namespace"
        " WHERE nspname = 'raw' AND to_regclass('raw.deliveries') IS NOT NULL"
    ).fetchone()
    return row[0] if row else None


def _signature(contract: Contract) -> str:
    digest = hashlib.sha256(contract.fingerprint.encode())
    for statement in _everything(contract):
        digest.update(b" ".join(statement.as_bytes().split()) + b"\n")
    return f"schema {digest.hexdigest()}"


def _everything(contract: Contract) -> Iterator[sql.SQL | sql.Composed]:
    # feast: the registry's own tables; decisions: releases and the ledger; access: keys of the API
    for schema in (
        *("raw", PARTITIONS, "online", "feast", "decisions", "monitoring", "console", "access"),
        RETENTION,
    ):
        yield sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema))
    yield sql.SQL(_DELIVERIES)
    yield sql.SQL(_ONE_VERSION_AT_A_TIME)
    yield sql.SQL(_CALENDAR)
    for table in contract.tables:
        yield _raw_table(table)
        yield from _snapshot_table(table)
    yield sql.SQL(_SNAPSHOT_BUILDS)
    yield from online_tables.statements(contract.views)
    yield from map(sql.SQL, STATEMENTS)
    for view in RETENTION_VIEWS:
        yield from view.statements(contract)


def _columns(table: Table) -> sql.Composable:
    return sql.SQL(", ").join(
        sql.SQL("{} " + COLUMN_TYPES[column.kind].sql).format(sql.Identifier(column.name))
        for column in table.values
    )


def _raw_table(table: Table) -> sql.Composed:
    return sql.SQL(
        "CREATE TABLE IF NOT EXISTS raw.{table} ("
        " delivery_id bigint NOT NULL REFERENCES raw.deliveries, user_id text NOT NULL, {columns},"
        " PRIMARY KEY (delivery_id, user_id)) PARTITION BY LIST (delivery_id)"
    ).format(table=sql.Identifier(table.name), columns=_columns(table))


def _snapshot_table(table: Table) -> Iterator[sql.Composed]:
    names = {
        "snapshot": sql.Identifier(table.snapshot),
        "index": sql.Identifier(f"{table.snapshot}_as_of"),
        "columns": _columns(table),
    }
    yield sql.SQL(
        "CREATE TABLE IF NOT EXISTS {snapshot} ("
        " user_id text NOT NULL, as_of timestamptz NOT NULL, known_at timestamptz NOT NULL,"
        " is_withdrawn boolean NOT NULL DEFAULT false, {columns},"
        " PRIMARY KEY (user_id, as_of, known_at), CHECK (known_at >= as_of))"
        " PARTITION BY LIST (as_of)"
    ).format(**names)
    yield sql.SQL("CREATE INDEX IF NOT EXISTS {index} ON {snapshot} (as_of, known_at)").format(
        **names
    )
    yield current_view(table)


def current_view(table: Table) -> sql.Composed:
    """Return the DDL of the view that shows a snapshot's newest versions."""
    return sql.SQL(
        "CREATE OR REPLACE VIEW {current} AS SELECT * FROM ("
        " SELECT DISTINCT ON (user_id, as_of) * FROM {snapshot}"
        " ORDER BY user_id, as_of, known_at DESC) AS newest WHERE NOT is_withdrawn"
    ).format(
        snapshot=sql.Identifier(table.snapshot),
        current=sql.Identifier(f"{table.snapshot}_current"),
    )
