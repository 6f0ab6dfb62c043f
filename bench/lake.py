"""A filled lake without deliveries: generated months and one correction, put straight into the snapshots."""

import datetime as dt
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
from psycopg import sql

from bench.world import Sizes
from churn.contract.features import VIEWS
from churn.contract.tables import LABELS, SUPPORT, TABLES, Table
from churn.database import connect
from churn.database.copying import copy_in
from churn.deliveries.reading import ARROW_TYPES
from churn.lake import TIMESTAMP, write_view
from churn.months import Month
from churn.population.drops import write_drops


def fill_lake(folder: Path, first: Month, sizes: Sizes) -> pa.Table:
    """Generate months, put them into snapshots and lake, and return the labels of all of them.

    The support table of the first month is corrected later, after its training set's cut-off: a join
    that takes the newest row known now, not then, gives other values.
    """
    drops = write_drops(
        folder, first=first, users=sizes.users, months=sizes.months, seed=sizes.seed,
        label_last_month=True,
    )  # fmt: skip
    labels: list[pa.Table] = []
    for number, drop in enumerate(drops):
        month = first.shift(number)
        for table in TABLES:
            rows = _read(drop, table)
            known_at = month.matures_at if table is LABELS else month.as_of
            _put(table, rows, month, known_at)
            if table is LABELS:
                labels.append(rows.append_column("as_of", _instants(rows, month.as_of)))
            if table is SUPPORT and number == 0:
                _put(table, _corrected(rows), month, month.as_of + dt.timedelta(days=10))
    for number in range(sizes.months):
        for view in VIEWS:
            write_view(first.shift(number), view)
    return pa.concat_tables(labels)


def _read(drop: Path, table: Table) -> pa.Table:
    options = pa_csv.ConvertOptions(
        column_types={column.name: ARROW_TYPES[column.kind] for column in table.columns},
        strings_can_be_null=True,
        null_values=[""],
    )
    return pa_csv.read_csv(drop / table.file, convert_options=options)


def _corrected(rows: pa.Table) -> pa.Table:
    name = "support_tickets_90d"
    more = pa.compute.add(rows[name], 1)
    return rows.set_column(rows.column_names.index(name), name, more)


def _put(table: Table, rows: pa.Table, month: Month, known_at: dt.datetime) -> None:
    with connect() as connection:
        copy_in(
            connection,
            sql.Identifier(table.snapshot),
            rows.append_column("as_of", _instants(rows, month.as_of)).append_column(
                "known_at", _instants(rows, known_at)
            ),
        )


def _instants(rows: pa.Table, instant: dt.datetime) -> pa.Array:
    return pa.repeat(pa.scalar(instant, TIMESTAMP), rows.num_rows)
