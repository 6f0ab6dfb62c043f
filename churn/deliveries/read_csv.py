"""The fast reader: a CSV file to a typed Arrow table. What it cannot read is explained by diagnose.py."""

import datetime as dt
import gzip
import hashlib
import re
import zlib
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from churn.contract.structure import Table
from churn.deliveries.diagnose import diagnose, header_problems
from churn.deliveries.files import (
    Reading,
    Source,
    arrow_schema,
    is_compressed,
    open_source,
    plain_name,
    read_header,
    sha256_of,
)
from churn.deliveries.problems import Problem

_BLOCK = 8 << 20
_FIRST_DAY = (dt.date.min - dt.date(1970, 1, 1)).days
_HEX = re.compile(rb"""(?:^|,)[ \t"]*-?0[xX]""", re.MULTILINE)


def read_csv(source: Source, table: Table) -> Reading:
    """Read one file of a drop; columns come out in the contract's order, blanks as nulls.

    The file is read in blocks; memory holds only the typed rows.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        return _read_csv(source, table)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        broken = Problem(table.file, f"the gzip file is broken: {error}", "compress it again")
        return Reading(table.file, source, sha256_of(source), None, (broken,))


def _read_csv(source: Source, table: Table) -> Reading:
    with open_source(source) as file:
        header = read_header(file)
    if not header or header_problems(header, table):
        return diagnose(source, table)
    watched, rows, refusal = _read_somehow(source, table, header)
    if rows is None:
        return diagnose(source, table, reader_error=refusal)
    if rows.num_rows == 0 or _may_be_misread(watched, rows):
        reading = diagnose(source, table)
        if reading.problems:
            return reading
    sha256 = sha256_of(source) if is_compressed(source) else watched.sha256.hexdigest()
    return Reading(table.file, source, sha256, _without_negative_zeros(rows))


def _read_somehow(
    source: Source, table: Table, header: list[str]
) -> tuple["_WatchedFile", pa.Table | None, str]:
    """Read the rows; where that fails, read whole numbers as text, since they may be written as 12.0."""
    refusal = ""
    for read in (_read_fast, _read_pointed):
        with open_source(source) as file:
            watched = _WatchedFile(file)
            try:
                return watched, read(watched, arrow_schema(table), header), refusal
            except pa.ArrowInvalid as error:
                refusal = refusal or str(error)
    return watched, None, refusal


def _without_negative_zeros(rows: pa.Table) -> pa.Table:
    """Return the rows with -0.0 as 0: it is the same number, and so has one spelling everywhere."""
    for at, field in enumerate(rows.schema):
        if pa.types.is_floating(field.type):
            rows = rows.set_column(at, field, pc.add(rows[field.name], 0.0))
    return rows


class _WatchedFile:
    """A file that, while Arrow reads it, computes its sha256 and notes what Arrow may misread."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self.sha256 = hashlib.sha256()
        self.quotes = 0
        self.has_hex = False
        self._file = file
        # The end of the block before, in which a value may begin.
        self._tail = b""

    def read(self, size: int = -1) -> bytes:
        block = self._file.read(size)
        self.sha256.update(block)
        self.quotes += block.count(b'"')
        if not self.has_hex and (b"0x" in block or b"0X" in block or self._tail.endswith(b"0")):
            self.has_hex = _HEX.search(self._tail + block) is not None
        self._tail = block[-64:]
        return block

    def close(self) -> None:
        self.closed = True


def _read_pointed(file: _WatchedFile, schema: pa.Schema, header: list[str]) -> pa.Table:
    """Read 12.0 as a whole number; 12.5 is none, and fails."""
    whole = [field.name for field in schema if pa.types.is_integer(field.type)]
    for name in whole:
        schema = schema.set(schema.get_field_index(name), pa.field(name, pa.string()))
    rows = _read_fast(file, schema, header)
    for name in whole:
        digits = pc.replace_substring_regex(
            rows[name], pattern=r"^([ \t]*-?[0-9]+)\.0+([ \t]*)$", replacement=r"\1\2"
        )
        numbers = pc.utf8_trim(digits, characters=" \t").cast(pa.int64())
        rows = rows.set_column(rows.schema.get_field_index(name), name, numbers)
    return rows


def _read_fast(file: _WatchedFile, schema: pa.Schema, header: list[str]) -> pa.Table:
    written = {plain_name(name): name for name in header}
    own = pa.schema([field.with_name(written.get(field.name, field.name)) for field in schema])
    reader = pa_csv.open_csv(
        pa.PythonFile(file, mode="r"),
        read_options=pa_csv.ReadOptions(block_size=_BLOCK),
        parse_options=pa_csv.ParseOptions(newlines_in_values=True),
        convert_options=pa_csv.ConvertOptions(
            column_types=own,
            include_columns=own.names,
            include_missing_columns=True,
            null_values=[""],
            strings_can_be_null=True,
            true_values=["True"],
            false_values=["False"],
        ),
    )
    rows = pa.Table.from_batches(reader, own).rename_columns(schema.names)
    # The sha256 is that of the whole file, including what Arrow did not need to read.
    while file.read(_BLOCK):
        pass
    return rows.unify_dictionaries()


def _may_be_misread(file: _WatchedFile, rows: pa.Table) -> bool:
    """Return whether Arrow may have misread something; the diagnosing reader then decides.

    Arrow reads 0x1F as a whole number, 0000-01-01 as a date, though neither Python nor Postgres has that
    year, and a quote that is never closed as a text that runs to the end of the file.
    """
    return (
        file.quotes % 2 == 1
        or (file.quotes > 0 and any(_has_breaks(column) for column in rows.itercolumns()))
        or file.has_hex
        or any(_has_year_zero(column) for column in rows.itercolumns())
    )


def _has_breaks(column: pa.ChunkedArray) -> bool:
    if pa.types.is_dictionary(column.type):
        return any(_has_breaks(pa.chunked_array([c.dictionary])) for c in column.chunks)
    if not pa.types.is_string(column.type):
        return False
    return bool(pc.any(pc.match_substring_regex(column, r"[\r\n]")).as_py())


def _has_year_zero(column: pa.ChunkedArray) -> bool:
    if not pa.types.is_date32(column.type):
        return False
    return bool(pc.any(pc.less(column.cast(pa.int32()), _FIRST_DAY)).as_py())
