"""One month's wide rows: the views' files in the lake, side by side."""

import datetime as dt
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from churn.contract.features import VIEWS, View
from churn.database.online_tables import COLUMNS
from churn.lake import ARROW_TYPES, lake_file, read_columns, schema_of
from churn.months import Month

_VIEWS = {view.name for view in VIEWS}
_DTYPES = {feature.name: feature.dtype for view in VIEWS for feature in view.features}
# The wide row without its version, which all rows of a month share.
SCHEMA = pa.schema(
    [
        (name, pa.bool_() if name in _VIEWS else ARROW_TYPES[_DTYPES.get(name, "String")])
        for name in COLUMNS
        if name not in {"as_of", "known_at"}
    ]
)


def month_rows(month: Month, versions: Mapping[str, dt.datetime]) -> pa.Table:
    """Return the wide rows of a month's users (SCHEMA), sorted by user_id: who is in any view has a row.

    Args:
        month: a month of which every view is in the lake.
        versions: the newest known_at of each table that the month has; a version holds its month whole.
    """
    parts = {view: _newest(view, month, versions.get(view.table.name)) for view in VIEWS}
    users = _everybody([rows["user_id"].combine_chunks() for rows in parts.values()])
    columns = {"user_id": users}
    for view, rows in parts.items():
        of_view = rows["user_id"].combine_chunks()
        if of_view.equals(users):
            columns[view.name] = pa.repeat(True, len(users))
        else:
            at = pc.index_in(users, of_view)
            columns[view.name] = pc.is_valid(at)
            rows = rows.take(at)
        columns |= {feature.name: rows[feature.name] for feature in view.features}
    return pa.table({name: columns[name] for name in SCHEMA.names}, schema=SCHEMA)


def _newest(view: View, month: Month, known_at: dt.datetime | None) -> pa.Table:
    schema = schema_of(view)
    if known_at is None:
        return schema.empty_table()
    without_as_of = schema.remove(schema.get_field_index("as_of"))
    rows = read_columns(pq.ParquetFile(lake_file(view, month)), without_as_of)
    is_newest = pc.equal(rows["known_at"], pa.scalar(known_at, rows["known_at"].type))
    kept = pc.and_(is_newest, pc.invert(rows["is_withdrawn"]))
    return rows if pc.all(kept).as_py() else rows.filter(kept)


def _everybody(parts: list[pa.Array]) -> pa.Array:
    first, *others = parts
    if all(users.equals(first) for users in others):
        return first  # as in most months
    return pc.unique(pa.concat_arrays(parts)).sort()
