"""The records of a CSV file with their line numbers, as a person sees them in an editor."""

import csv
import io
from collections.abc import Collection, Iterator
from typing import BinaryIO


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
        # The file is whose it was: it is not closed by who read only the beginning of it.
        if not file.closed:
            text.detach()


def read_header(file: BinaryIO) -> list[str]:
    """Return the column names: the first record, empty where none can be read."""
    try:
        return next((values for _, values in records(file)), [])
    except (csv.Error, UnicodeDecodeError):
        return []


def plain_name(name: str) -> str:
    """Return a column's name as the contract writes it: case and blanks around it say nothing."""
    return name.strip().lower()


def line_numbers(file: BinaryIO, rows: Collection[int]) -> dict[int, int]:
    """Return the line on which each of these rows (counted from 0) begins; reads no further than needed."""
    found: dict[int, int] = {}
    if not rows:
        return found
    wanted, last = set(rows), max(rows)
    for row, (line, _) in enumerate(
        records(file, strict=False), start=-1
    ):  # the header comes first
        if row in wanted:
            found[row] = line
        if row == last:
            break
    return found
