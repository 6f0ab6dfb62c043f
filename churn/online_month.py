"""One month's wide rows: the views' files in the lake, joined by user."""

import datetime as dt
from collections.abc import Iterator, Mapping

import pyarrow as pa

from churn.contract.features import VIEWS, View
from churn.database.online_tables import COLUMNS
from churn.lake import ARROW_TYPES, lake_file
from churn.months import Month

ROWS_AT_ONCE = 50_000
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


def month_rows(month: Month, versions: Mapping[str, dt.datetime]) -> Iterator[pa.RecordBatch]:
    """Yield the wide rows of a month's users (SCHEMA), in no order: who is in any view has a row.

    Args:
        month: a month of which every view is in the lake.
        versions: the newest known_at of each view's table; a version holds its month whole.
    """
    import duckdb

    joins = " FULL JOIN ".join(
        f"{_newest(view)} AS {view.name}" + (" USING (user_id)" if number else "")
        for number, view in enumerate(VIEWS)
    )
    columns = ", ".join(
        f"coalesce({name}.has_row, false) AS {name}" if name in _VIEWS else name
        for name in SCHEMA.names
    )
    values = [
        value
        for view in VIEWS
        for value in (str(lake_file(view, month)), versions[view.table.name])
    ]
    with duckdb.connect() as connection:
        found = connection.sql(f"SELECT {columns} FROM {joins}", params=values)  # noqa: S608
        yield from found.to_arrow_reader(ROWS_AT_ONCE)


def _newest(view: View) -> str:
    features = ", ".join(feature.name for feature in view.features)
    return (
        f"(SELECT user_id, true AS has_row, {features} FROM read_parquet(?)"  # noqa: S608
        " WHERE known_at = ? AND NOT is_withdrawn)"
    )
