"""CSV bytes to a typed Arrow table: the fast path. What it cannot read is explained in diagnose.py."""

import datetime as dt
import re

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from churn.contract.tables import Table
from churn.deliveries.diagnose import diagnose, header_problems
from churn.deliveries.lines import read_header
from churn.deliveries.reading import Reading, arrow_schema

_BLOCK = 8 << 20
_FIRST_DAY = (dt.date.min - dt.date(1970, 1, 1)).days
_HEX = re.compile(rb"""(?:^|,)[ \t"]*-?0[xX]""", re.MULTILINE)


def read_csv(data: bytes, table: Table) -> Reading:
    """Read one file of a drop; columns come out in the contract's order, blanks as nulls."""
    header = read_header(data)
    if not header or header_problems(header, table):
        return diagnose(data, table)
    try:
        rows = _read_fast(data, arrow_schema(table))
    except pa.ArrowInvalid as error:
        return diagnose(data, table, reader_said=str(error))
    if rows.num_rows == 0 or _may_be_misread(data, rows):
        reading = diagnose(data, table)
        if reading.problems:
            return reading
    return Reading(table.file, data, rows)


def _read_fast(data: bytes, schema: pa.Schema) -> pa.Table:
    rows = pa_csv.read_csv(
        pa.BufferReader(data),
        read_options=pa_csv.ReadOptions(block_size=_BLOCK),
        parse_options=pa_csv.ParseOptions(newlines_in_values=True),
        convert_options=pa_csv.ConvertOptions(
            column_types=schema,
            include_columns=schema.names,
            include_missing_columns=True,
            null_values=[""],
            strings_can_be_null=True,
            true_values=["True"],
            false_values=["False"],
        ),
    )
    return rows.combine_chunks()


def _may_be_misread(data: bytes, rows: pa.Table) -> bool:
    """Say whether Arrow may have read what is not there; the diagnosing read then decides.

    It reads 0x1F as a whole number, 0000-01-01 as a date, which neither Python nor Postgres has, and a
    quote that never closes as a text that goes on to the end of the file.
    """
    quotes = data.count(b'"')
    return (
        quotes % 2 == 1
        or (quotes > 0 and any(_has_breaks(column) for column in rows.itercolumns()))
        or ((b"0x" in data or b"0X" in data) and _HEX.search(data) is not None)
        or any(_has_year_zero(column) for column in rows.itercolumns())
    )


def _has_breaks(column: pa.ChunkedArray) -> bool:
    if not pa.types.is_string(column.type):
        return False
    return bool(pc.any(pc.match_substring_regex(column, r"[\r\n]")).as_py())


def _has_year_zero(column: pa.ChunkedArray) -> bool:
    if not pa.types.is_date32(column.type):
        return False
    return bool(pc.any(pc.less(column.cast(pa.int32()), _FIRST_DAY)).as_py())
