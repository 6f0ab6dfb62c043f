"""A handful of users put straight into the snapshots, for tests of the stages behind them."""

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any

from psycopg import sql

from churn.contract.in_force import LABELS, PROFILE_TABLES, VIEWS
from churn.contract.structure import Column, Table
from churn.database import connect
from churn.database.partitions import exists, new_partition, snapshot_partition
from churn.lake.files import write_view
from churn.months import Month

JANUARY, FEBRUARY, MARCH = (Month.parse(f"2024-0{n}") for n in (1, 2, 3))
LATER = dt.datetime(2024, 5, 10, tzinfo=dt.UTC)

_BY_KIND: Mapping[str, Any] = {
    "string": "text",
    "date": dt.date(2023, 1, 1),
    "int": 3,
    "float": 1.5,
    "bool": True,
}


def put(
    table: Table,
    month: Month,
    users: Iterable[str],
    known_at: dt.datetime | None = None,
    withdrawn: Iterable[str] = (),
    **values: Any,
) -> None:
    """Insert one version of a month into a snapshot; `values` replaces columns for all users."""
    names = ["user_id", "as_of", "known_at", "is_withdrawn", *(c.name for c in table.values)]
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(table.snapshot),
        sql.SQL(", ").join(map(sql.Identifier, names)),
        sql.SQL(", ").join([sql.Placeholder()] * len(names)),
    )
    instant = known_at or (month.matures_at if table is LABELS else month.as_of)
    with connect() as connection, connection.cursor() as cursor:
        partition = snapshot_partition(table, month)
        if not exists(connection, partition):
            with new_partition(connection, partition, sql.Identifier(table.snapshot), month.as_of):
                pass
        for gone, ids in ((False, users), (True, withdrawn)):
            cells = [None if gone else _cell(c, values) for c in table.values]
            rows = [[user, month.as_of, instant, gone, *cells] for user in ids]
            cursor.executemany(statement, rows)


def put_profile(month: Month, users: Iterable[str], **kwargs: Any) -> None:
    """Insert one version of all profile tables and write the month's lake files."""
    ids = list(users)
    for table in PROFILE_TABLES:
        own = {k: v for k, v in kwargs.items() if k in {c.name for c in table.values}}
        rest = {k: v for k, v in kwargs.items() if k in {"known_at", "withdrawn"}}
        put(table, month, ids, **rest, **own)
    write_month(month)


def write_month(month: Month) -> None:
    for view in VIEWS:
        write_view(month, view)


def _cell(column: Column, values: Mapping[str, Any]) -> Any:
    return values[column.name] if column.name in values else _BY_KIND[column.kind]
