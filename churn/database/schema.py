"""The tables of the contract as DDL, generated from churn.contract so that no list stands twice."""

from collections.abc import Iterator

from psycopg import sql

from churn.contract.tables import TABLES, Kind, Table
from churn.database import (
    decision_tables,
    evaluation_tables,
    monitoring_tables,
    online_tables,
    plausibility_tables,
    scoring_tables,
)
from churn.database.partitions import SCHEMA as PARTITIONS

SQL_TYPES: dict[Kind, str] = {
    "string": "text",
    "date": "date",
    "int": "bigint",
    "float": "double precision",
    "bool": "boolean",
}

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
    stored_path text NOT NULL
)"""

# Why a version could not be loaded, null where it could or was not tried. It is in no order with the
# others: where no version was ever loaded, the one that heals the month is known as the first would have
# been. A lock on the whole table is taken only where the column is missing.
_UNLOADABLE = """
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM information_schema.columns WHERE table_schema = 'raw'
                   AND table_name = 'deliveries' AND column_name = 'unloadable') THEN
        ALTER TABLE raw.deliveries ADD COLUMN unloadable text;
        ALTER TABLE raw.deliveries DROP CONSTRAINT IF EXISTS deliveries_month_file_known_at_key;
        CREATE UNIQUE INDEX deliveries_version ON raw.deliveries (month, file, known_at)
            WHERE unloadable IS NULL;
    END IF;
END $$"""


def statements() -> Iterator[sql.SQL | sql.Composed]:
    """Yield the whole schema, each statement safe to run again."""
    # feast: the registry's own tables; decisions: releases and the ledger
    for schema in ("raw", PARTITIONS, "online", "feast", "decisions", "monitoring"):
        yield sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema))
    yield sql.SQL(_DELIVERIES)
    yield sql.SQL(_UNLOADABLE)
    for table in TABLES:
        yield _raw_table(table)
        yield from _snapshot_table(table)
    yield from online_tables.statements()
    for more in (
        decision_tables,
        plausibility_tables,
        monitoring_tables,
        scoring_tables,
        evaluation_tables,
    ):
        yield from map(sql.SQL, more.STATEMENTS)


def _columns(table: Table) -> sql.Composable:
    return sql.SQL(", ").join(
        sql.SQL("{} " + SQL_TYPES[column.kind]).format(sql.Identifier(column.name))
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
        "current": sql.Identifier(f"{table.snapshot}_current"),
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
    yield sql.SQL(
        "CREATE OR REPLACE VIEW {current} AS SELECT * FROM ("
        " SELECT DISTINCT ON (user_id, as_of) * FROM {snapshot}"
        " ORDER BY user_id, as_of, known_at DESC) AS newest WHERE NOT is_withdrawn"
    ).format(**names)
