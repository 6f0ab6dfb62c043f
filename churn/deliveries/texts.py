"""Reading a delivered file of any dialect as columns of text, for selects and for translation.

The values of a CSV file are the text in it. The values of a Parquet file have types, and become the text that
the canonical CSV file would hold.
"""

import csv
import datetime as dt
import decimal
import gzip
import io
import itertools
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from churn.contract.structure import Dialect
from churn.deliveries.files import records
from churn.deliveries.problems import Problem, cells

_EXPORT_AGAIN = "export it again"
_IN_QUOTES = "give it one value per column; a value with a separator in it stands in quotes"


@dataclass(frozen=True)
class Texts:
    """A file as columns of text.

    Args:
        names: the columns' names, as in the file's header.
        columns: their texts; blanks are empty texts.
        are_typed: per column, whether the file stated its type, so that its text is canonical already.
        lines: the line on which each row begins; None where row i is on line i + 2.
        problems: what could not be read. Where there are any, the rest is incomplete.
    """

    names: tuple[str, ...]
    columns: tuple[pa.ChunkedArray, ...]
    are_typed: tuple[bool, ...]
    lines: Sequence[int] | None = None
    problems: tuple[Problem, ...] = ()

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self.columns[0]) if self.columns else 0


def unreadable(*problems: Problem) -> Texts:
    """Return the result for a file of which nothing can be read."""
    return Texts((), (), (), problems=problems)


def read_texts(content: bytes, dialect: Dialect, file: str) -> Texts:
    """Read a file, compressed by gzip or not.

    Args:
        content: the file's bytes.
        dialect: how it writes its values.
        file: its name, for messages.
    """
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            return unreadable(
                Problem(file, f"the gzip file is broken: {error}", "compress it again")
            )
    if dialect.format == "parquet":
        return _read_parquet(content, file)
    return _read_csv(content, dialect, file)


def _read_csv(content: bytes, dialect: Dialect, file: str) -> Texts:
    try:
        # A byte that does not decode is reported with its line below.
        plain = content.decode(dialect.encoding, "strict").encode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = f"byte 0x{content[error.start]:02x}"
        remedy = f"save it as {dialect.encoding}, or correct the encoding in the contract"
        return unreadable(Problem(file, f"is not {dialect.encoding}", remedy, row=line, value=byte))
    try:
        header_line, header = next(records(io.BytesIO(plain), delimiter=dialect.delimiter))
    except StopIteration:
        return unreadable(Problem(file, "the file is empty", _EXPORT_AGAIN))
    except csv.Error as error:
        return unreadable(_broken_quote(file, 1, error))
    if header_line == 1:
        texts = _read_fast(plain, header, dialect)
        if texts is not None:
            return texts
    return _read_slowly(plain, dialect, file)


def _read_fast(plain: bytes, header: list[str], dialect: Dialect) -> Texts | None:
    """Read a file in which every row is one line; None where that is not so, or not certain."""
    if plain.count(b'"') % 2:
        return None
    names = [f"c{number}" for number in range(len(header))]
    try:
        rows = pa_csv.read_csv(
            pa.BufferReader(plain),
            read_options=pa_csv.ReadOptions(column_names=names, skip_rows=1, use_threads=False),
            parse_options=pa_csv.ParseOptions(delimiter=dialect.delimiter, newlines_in_values=True),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid:
        return None
    lines = plain.count(b"\n") + (not plain.endswith(b"\n"))
    if rows.num_rows + 1 != lines:
        return None
    return Texts(tuple(header), tuple(rows.columns), (False,) * len(header))


def _read_slowly(plain: bytes, dialect: Dialect, file: str) -> Texts:
    """Read row by row, noting the line of each; rows with a wrong number of values are reported."""
    lines: list[int] = []
    rows: list[list[str]] = []
    ragged: list[tuple[int, int]] = []
    everything = records(io.BytesIO(plain), delimiter=dialect.delimiter)
    line, header = next(everything)
    try:
        for line, values in everything:
            if len(values) == len(header):
                lines.append(line)
                rows.append(values)
            else:
                ragged.append((line, len(values)))
    except csv.Error as error:
        return unreadable(_broken_quote(file, line, error))
    problems: list[Problem] = []
    for count, same in itertools.groupby(
        sorted(ragged, key=lambda row: row[1]), lambda row: row[1]
    ):
        places = [(line, "") for line, _ in same]
        what = f"the row has {count} values where the header has {len(header)}"
        problems += cells(Problem(file, what, _IN_QUOTES), places, len(places))
    columns = [
        pa.chunked_array([pa.array(column, pa.string())]) for column in zip(*rows, strict=True)
    ]
    if not rows:
        columns = [pa.chunked_array([pa.array([], pa.string())])] * len(header)
    return Texts(tuple(header), tuple(columns), (False,) * len(header), lines, tuple(problems))


def _broken_quote(file: str, line: int, error: csv.Error) -> Problem:
    remedy = 'close the quote, or write a quote inside a value as ""'
    return Problem(file, f"the quoting is broken after this row ({error})", remedy, row=line)


def _read_parquet(content: bytes, file: str) -> Texts:
    try:
        rows = pq.read_table(pa.BufferReader(content))
    except (pa.ArrowException, OSError) as error:
        what = f"is not a Parquet file that can be read: {str(error).splitlines()[0]}"
        return unreadable(Problem(file, what, _EXPORT_AGAIN))
    return texts_of(rows, file)


def texts_of(rows: pa.Table, file: str) -> Texts:
    """Return typed rows as columns of text.

    Args:
        rows: columns of any types; nulls become blanks.
        file: the name of what holds them, for messages.
    """
    columns, are_typed, problems = [], [], []
    for name, column in zip(rows.column_names, rows.columns, strict=True):
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        text = _text_of(column)
        if text is None:
            what = f"holds values of the type {column.type}, which are no single values"
            problems.append(
                Problem(file, what, "export single values, or take them apart", column=name)
            )
            continue
        columns.append(pc.fill_null(text, ""))
        are_typed.append(not _is_text(column.type))
    return Texts(
        tuple(rows.column_names), tuple(columns), tuple(are_typed), problems=tuple(problems)
    )


def _is_text(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _text_of(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Return the column's texts; None where a value has no single text."""
    kind = column.type
    if _is_text(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind):
        return column.cast(pa.string())
    if pa.types.is_boolean(kind):
        return pc.if_else(column, "True", "False")
    if pa.types.is_date(kind):
        return column.cast(pa.date32()).cast(pa.string())
    if pa.types.is_timestamp(kind):
        return _each(column, _text_of_time)
    if pa.types.is_floating(kind):
        shortest = np.float32 if pa.types.is_float32(kind) else float
        return _each(column, lambda value: _text_of_float(value, shortest))
    if pa.types.is_decimal(kind):
        return _each(column, lambda value: f"{value:f}")
    return None


def _each(column: pa.ChunkedArray, text: Callable[[Any], str]) -> pa.ChunkedArray:
    """Return the texts of a column; each distinct value is formatted once."""
    encoded = column.combine_chunks().dictionary_encode()
    texts = [text(value) for value in encoded.dictionary.to_pylist()]
    return pa.chunked_array([pc.take(pa.array(texts, pa.string()), encoded.indices)])


def _text_of_float(value: float, shortest: Callable[[float], Any]) -> str:
    """Return the shortest text that reads as the same number, without an exponent."""
    # Only NaN differs from itself; many exports write it for a blank.
    if value != value:
        return ""
    text = str(shortest(value))
    return text if "inf" in text else f"{decimal.Decimal(text):f}"


def _text_of_time(value: dt.datetime) -> str:
    """Return the instant as its file writes it; midnight is written as a date."""
    plain = value.replace(tzinfo=None, microsecond=value.microsecond)
    return f"{plain:%Y-%m-%d}" if plain.time() == dt.time() else f"{plain:%Y-%m-%d %H:%M:%S}"
