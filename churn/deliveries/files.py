"""What the readers of delivered files share: opening, hashing, and numbering lines as an editor does.

`Reading` is the result of reading a file: typed rows, what could not be read, and where each row stands. The
fast reader is `read_csv.py`; what it cannot read is explained by `diagnose.py`.
"""

import csv
import functools
import gzip
import hashlib
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa

from churn.contract.structure import Column, Table
from churn.contract.types import COLUMN_TYPES
from churn.deliveries.problems import Problem
from churn.fingerprint import ByUser


def records(
    file: BinaryIO, strict: bool = True, delimiter: str = ","
) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, values) of every record, the header first; blank lines are passed over.

    Args:
        file: the file, open at its beginning.
        strict: whether a quote that is not closed, or closes inside a value, is an error.
        delimiter: what stands between two values.

    Raises:
        csv.Error: the quoting is broken.
        UnicodeDecodeError: the bytes are not UTF-8.
    """
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    reader = csv.reader(text, strict=strict, delimiter=delimiter)
    line = 1
    try:
        for values in reader:
            if values:
                yield line, values
            line = reader.line_num + 1
    finally:
        # The file belongs to the caller: reading only its beginning must not close it.
        if not file.closed:
            text.detach()


def read_header(file: BinaryIO) -> list[str]:
    """Return the column names: the first record, empty where none can be read."""
    try:
        return next((values for _, values in records(file)), [])
    except (csv.Error, UnicodeDecodeError):
        return []


def plain_name(name: str) -> str:
    """Return a column's name as the contract writes it: without regard to case and surrounding blanks."""
    return name.strip().lower()


def line_numbers(file: BinaryIO, rows: Collection[int]) -> dict[int, int]:
    """Return the line on which each of these rows (counted from 0) begins; reads no further than needed."""
    lines: dict[int, int] = {}
    if not rows:
        return lines
    wanted, last = set(rows), max(rows)
    # The header comes first, as row -1.
    for row, (line, _) in enumerate(records(file, strict=False), start=-1):
        if row in wanted:
            lines[row] = line
        if row == last:
            break
    return lines


# A file, or the content of one.
Source = Path | bytes

ARROW_TYPES = {kind: each.arrow for kind, each in COLUMN_TYPES.items()}
_CODES = pa.dictionary(pa.int32(), pa.string())


@dataclass(frozen=True)
class Reading:
    """A file as it was read.

    Args:
        file: its name in the drop.
        source: the file, or its bytes.
        sha256: the hash of the bytes that were read.
        rows: its typed rows; None where no row could be read. Where there are `problems`, unreadable cells
            are null here, and rows with a wrong number of values are left out.
        problems: what could not be read.
        lines: the line of each row in the file, where the reader had to note it.
        unreadable: per column, the rows (counted from 0) whose cell could not be read.
    """

    file: str
    source: Source
    sha256: str
    rows: pa.Table | None
    problems: tuple[Problem, ...] = ()
    lines: Sequence[int] | None = None
    unreadable: Mapping[str, Collection[int]] = field(default_factory=dict)

    @functools.cached_property
    def by_user(self) -> ByUser | None:
        """The rows by user_id; None where some have none."""
        if self.rows is None or self.rows["user_id"].null_count:
            return None
        return ByUser(self.rows)

    def line_numbers(self, rows: Collection[int]) -> Mapping[int, int]:
        """Return the line of each of these rows as an editor numbers it (costs a second read)."""
        if self.lines is not None:
            return {row: self.lines[row] for row in rows}
        with open_source(self.source) as file:
            return line_numbers(file, rows)


def open_source(source: Source) -> BinaryIO:
    """Open a file, or the content of one, for reading; gzip is unpacked.

    Raises:
        OSError, EOFError, zlib.error: when it is read, where a compressed file is broken.
    """
    if not is_compressed(source):
        return _open_bytes(source)
    packed = io.BytesIO(source) if isinstance(source, bytes) else source
    return cast(BinaryIO, gzip.open(packed, "rb"))


def is_compressed(source: Source) -> bool:
    """Return whether the file is compressed by gzip, by its first bytes: no CSV file begins with these."""
    with _open_bytes(source) as file:
        return file.read(2) == b"\x1f\x8b"


def sha256_of(source: Source) -> str:
    """Return the sha256 of a file's bytes as they are stored, compressed or not."""
    with _open_bytes(source) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _open_bytes(source: Source) -> io.BytesIO | io.BufferedReader:
    return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")


def plain_schema(table: Table) -> pa.Schema:
    """Return the Arrow types of the table's rows, texts as plain strings."""
    return pa.schema([(column.name, ARROW_TYPES[column.kind]) for column in table.columns])


def arrow_schema(table: Table) -> pa.Schema:
    """Return the Arrow types of the table's rows, in the contract's order; texts of few values as codes."""
    return pa.schema([(column.name, _arrow_type(column)) for column in table.columns])


def _arrow_type(column: Column) -> pa.DataType:
    return _CODES if column.expected else ARROW_TYPES[column.kind]
