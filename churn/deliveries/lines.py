"""The records of a CSV file with their line numbers, as a person sees them in an editor."""

import csv
import io
from collections.abc import Iterator


def records(data: bytes, strict: bool = True) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, values) of every record, the header first; blank lines are passed over.

    Args:
        data: the file's bytes.
        strict: whether a quote that is not closed, or closes inside a value, is an error.

    Raises:
        csv.Error: the quoting is broken.
        UnicodeDecodeError: the bytes are not UTF-8.
    """
    text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline="")
    reader = csv.reader(text, strict=strict)
    line = 1
    for values in reader:
        if values:
            yield line, values
        line = reader.line_num + 1


def read_header(data: bytes) -> list[str]:
    """Return the column names: the first record, empty where none can be read."""
    try:
        return next((values for _, values in records(data)), [])
    except (csv.Error, UnicodeDecodeError):
        return []


def line_numbers(data: bytes) -> list[int]:
    """Return the line on which each row begins, in the order of the rows."""
    return [line for line, _ in records(data, strict=False)][1:]
