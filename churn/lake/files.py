"""The lake: each feature view's rows as plain Parquet, one file per month, which Feast reads in place.

Every file is derived from a snapshot table and can be written again at any time: Postgres remains the
system of record. A file holds all versions of its month, withdrawn users included (with null features), so
that a point-in-time join sees what was known at any time.
"""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from psycopg import sql

from churn.contract.structure import View
from churn.contract.types import FEATURE_TYPES
from churn.database import connect
from churn.database.copying import copy_out
from churn.errors import ChurnError
from churn.files import replacing
from churn.fingerprint import fingerprint, order_by
from churn.months import Month
from churn.settings import get_settings

ARROW_TYPES = {dtype: each.arrow for dtype, each in FEATURE_TYPES.items()}
TIMESTAMP = pa.timestamp("us", tz="UTC")
_VERSION_KEY = b"churn.known_at"
_KEY = ["user_id", "known_at"]


@dataclass(frozen=True)
class LakeMonth:
    """One month of one feature view in the lake.

    Args:
        rows: how many users the newest version has.
        table: every row of the file.
    """

    path: Path
    rows: int
    table: pa.Table
    fingerprint: str


def schema_of(view: View) -> pa.Schema:
    """Return the Arrow schema of a view's files: the keys, then the features in order."""
    return pa.schema(
        [
            pa.field("user_id", pa.string(), nullable=False),
            pa.field("as_of", TIMESTAMP, nullable=False),
            pa.field("known_at", TIMESTAMP, nullable=False),
            pa.field("is_withdrawn", pa.bool_(), nullable=False),
            *(pa.field(f.name, ARROW_TYPES[f.dtype]) for f in view.features),
        ]
    )


def read_columns(file: pq.ParquetFile, schema: pa.Schema, *, use_threads: bool = True) -> pa.Table:
    """Read the columns of `schema`; a column that the contract gained after the file was written is null.

    Where a column was given a wider type since, its values are cast to it.
    """
    present = [name for name in schema.names if name in file.schema_arrow.names]
    rows = file.read(present, use_threads=use_threads)
    columns = [
        rows[field.name].cast(field.type, safe=False)
        if field.name in present
        else pa.nulls(rows.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def lake_folder(view: View, lake: Path) -> Path:
    """Return the folder of a view's files; Feast, DuckDB, Spark or pandas can read it as one table."""
    return lake / view.name


def lake_file(view: View, month: Month, lake: Path | None = None) -> Path:
    """Return the path of one month's file."""
    folder = lake or get_settings().lake
    return lake_folder(view, folder) / f"as_of_date={month.as_of_date}" / "rows.parquet"


def months_of(folder: Path) -> dict[Month, Path]:
    """Return the files in a view's folder by month, oldest first; empty where there are none."""
    paths = {path.parent.name.partition("=")[2]: path for path in folder.glob("*/rows.parquet")}
    return {Month.parse(date[:7]): paths[date] for date in sorted(paths)}


def write_view(
    month: Month, view: View, judge: Callable[[LakeMonth], None] | None = None
) -> LakeMonth:
    """Write one month of a view from its snapshot table; the old file stays until the new one is whole.

    Args:
        month: the month.
        view: the feature view.
        judge: called with the month before it is written; where it raises, the old file stays.

    Raises:
        ChurnError: the snapshot holds no rows of the month.
    """
    schema = schema_of(view)
    features = sql.SQL(", ").join(sql.Identifier(f.name) for f in view.features)
    query = sql.SQL(
        "SELECT user_id, {as_of}, (extract(epoch FROM known_at) * 1000000)::bigint, is_withdrawn,"
        " {features} FROM {snapshot} WHERE as_of = {month}"
    ).format(
        as_of=sql.Literal(microseconds(month.as_of)),
        features=features,
        snapshot=sql.Identifier(view.table.snapshot),
        month=sql.Literal(month.as_of),
    )
    with connect() as connection:
        rows = copy_out(connection, query, schema)
    # Sorted here, bytewise, whatever the database's collation is. A month of one version arrives sorted.
    table = order_by(rows, _KEY).sort_table(rows)
    if table.num_rows == 0 and not view.table.optional:
        raise ChurnError(
            f"{view.table.snapshot} holds no rows of this month",
            where=f"{view.name} {month}",
            remedy=f"materialize {view.table.snapshot} for {month.partition_key} first",
        )
    path, users = lake_file(view, month), pc.sum(_is_current(table)).as_py() or 0
    lake_month = LakeMonth(path, users, table, fingerprint(table, key=_KEY))
    if judge is not None:
        judge(lake_month)
    write_file(table, path)
    return lake_month


def view_version(month: Month, view: View) -> dt.datetime | None:
    """Return the newest known_at in a month's file; None where there is no file, or no row in it."""
    path = lake_file(view, month)
    if not path.exists():
        return None
    metadata = pq.read_schema(path).metadata or {}
    version = metadata.get(_VERSION_KEY)
    return dt.datetime.fromisoformat(version.decode()) if version else None


def write_file(rows: pa.Table, path: Path) -> None:
    """Write one month's rows, durably, whole or not at all.

    Args:
        rows: of the type of `schema_of`, sorted by user_id and known_at.
        path: the month's file.
    """
    versions = rows["known_at"].unique().to_pylist()
    version = {_VERSION_KEY: max(versions).isoformat().encode()} if versions else {}
    stamped = rows.replace_schema_metadata(version)
    repeating = [name for name in rows.column_names if name != "user_id"]
    with replacing(path, durable=True) as new:
        pq.write_table(stamped, new, compression="zstd", use_dictionary=repeating)


def current_rows(rows: pa.Table) -> pa.Table:
    """Return the newest version of each user, without withdrawn users.

    Args:
        rows: a file of the lake, as it was written: sorted by user_id and known_at.
    """
    return rows.filter(_is_current(rows))


def _is_current(rows: pa.Table) -> pa.Array:
    users = rows["user_id"].combine_chunks()
    is_newest = np.ones(rows.num_rows, dtype=bool)
    is_newest[:-1] = pc.not_equal(users[:-1], users[1:]).to_numpy(zero_copy_only=False)
    return pc.and_(pa.array(is_newest), pc.invert(rows["is_withdrawn"].combine_chunks()))


def read_current(view: View, month: Month) -> pa.Table:
    """Read the newest version of a month's users: user_id, as_of, known_at, is_withdrawn, features.

    Raises:
        ChurnError: the month of this view is not in the lake.
    """
    path = lake_file(view, month)
    if not path.exists() and view.may_be_absent:
        # The month was closed before this table, or this view of it, existed.
        return schema_of(view).empty_table()
    if not path.exists():
        raise ChurnError(
            "the lake holds no such file",
            where=f"{view.name} {month}",
            remedy=f"materialize {view.name} for {month.partition_key} first",
        )
    # ParquetFile reads the file alone; read_table would add the folder's as_of_date as a column.
    return current_rows(read_columns(pq.ParquetFile(path), schema_of(view)))


def microseconds(instant: dt.datetime) -> int:
    """Return an instant as the files hold it: in microseconds since 1970."""
    since: int = (instant - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)
    return since
