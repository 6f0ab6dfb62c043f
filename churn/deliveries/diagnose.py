"""The second read of a file that could not be read at once: which cell, row or byte is wrong."""

import csv
import datetime as dt
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from churn.contract.tables import Column, Kind, Table
from churn.deliveries.lines import records
from churn.deliveries.problems import Problem, cells
from churn.deliveries.reading import ARROW_TYPES, Reading

_SAVE_AS = "save the file as UTF-8, values separated by commas"
_BOMS_16 = (b"\xff\xfe", b"\xfe\xff")
_WHOLE = re.compile(r"-?[0-9]+")
_NUMBER = re.compile(r"-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def diagnose(data: bytes, table: Table, reader_said: str = "") -> Reading:
    """Read the file cell by cell and list what is wrong.

    Args:
        data: the file's bytes.
        table: the file of the contract that it should be.
        reader_said: why the fast read gave up; it is the problem where none is found here.
    """
    if not data.strip(b"\xef\xbb\xbf \t\r\n"):
        empty = Problem(table.file, "the file is empty", "export it again")
        return Reading(table.file, data, None, (empty,))
    undecodable = _undecodable(data, table)
    if undecodable:
        return Reading(table.file, data, None, tuple(undecodable))
    problems: list[Problem] = []
    try:
        header, rows, lines = _split(data, table, problems)
    except csv.Error as error:
        return Reading(table.file, data, None, (_broken_quote(data, table, error),))
    wrong = header_problems(header, table)
    if wrong:
        return Reading(table.file, data, None, tuple(wrong))
    if not rows:
        remedy = "export it again" if not problems else "correct the rows above"
        problems.append(Problem(table.file, "the file has a header but no rows to read", remedy))
        return Reading(table.file, data, None, tuple(problems))
    columns: dict[str, pa.Array] = {}
    unreadable: dict[str, set[int]] = {}
    for column in table.columns:
        if column.name not in header:
            columns[column.name] = pa.nulls(len(rows), ARROW_TYPES[column.kind])
            continue
        index = header.index(column.name)
        texts = [row[index] for row in rows]
        columns[column.name], refused = _parse(column, texts)
        for said, at in refused.items():
            unreadable.setdefault(column.name, set()).update(at)
            what, _, remedy = said.partition("; ")
            found = ((lines[row], texts[row]) for row in at)
            kind = Problem(table.file, what, remedy, column=column.name)
            problems += cells(kind, found, len(at))
    if reader_said and not problems:
        problems.append(Problem(table.file, f"the file cannot be read: {reader_said}", _SAVE_AS))
    return Reading(table.file, data, pa.table(columns), tuple(problems), lines, unreadable)


def header_problems(header: list[str], table: Table) -> list[Problem]:
    """Return what is wrong with the column names; their order is free."""
    known = [column.name for column in table.columns]
    required = [column.name for column in table.columns if not column.optional]
    found: list[Problem] = []

    def add(column: str, what: str, remedy: str) -> None:
        found.append(Problem(table.file, what, remedy, row=1, column=column))

    for name in [name for name in required if name not in header]:
        add(name, "the column is missing", f"add it; the columns are {', '.join(required)}")
    for name in dict.fromkeys(header):
        if name not in known:
            what = "is not a column of this file" if name else "a column has no name"
            add(name, what, "remove it or correct its name; columns are separated by commas")
        elif header.count(name) > 1:
            add(name, f"the column stands {header.count(name)} times", "keep one of them")
    return found


def _undecodable(data: bytes, table: Table) -> list[Problem]:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    else:
        return []
    if data.startswith(_BOMS_16):
        return [Problem(table.file, "the file is UTF-16, not UTF-8", _SAVE_AS, row=1)]
    found = []
    for line, content in enumerate(re.split(rb"\r\n|\r|\n", data), start=1):
        try:
            content.decode("utf-8")
        except UnicodeDecodeError as error:
            found.append((line, f"byte 0x{content[error.start]:02x} at {error.start + 1}"))
    return cells(Problem(table.file, "is not UTF-8", _SAVE_AS), found, len(found))


def _broken_quote(data: bytes, table: Table, error: csv.Error) -> Problem:
    line = 1
    try:
        for number, values in records(data):
            line = number + 1 + sum(value.count("\n") for value in values)
    except csv.Error:
        pass
    remedy = 'close the quote, or write a quote inside a value as ""'
    return Problem(table.file, f"the quoting is broken ({error})", remedy, row=line)


def _split(
    data: bytes, table: Table, problems: list[Problem]
) -> tuple[list[str], list[list[str]], list[int]]:
    everything = records(data)
    header = next(everything)[1]
    rows: list[list[str]] = []
    lines: list[int] = []
    ragged: dict[int, list[int]] = {}
    for line, values in everything:
        if len(values) == len(header):
            rows.append(values)
            lines.append(line)
        else:
            ragged.setdefault(len(values), []).append(line)
    for count, at in ragged.items():
        what = f"the row has {count} values where the header has {len(header)}"
        remedy = "give it one value per column; a value with a comma stands in quotes"
        problems += cells(Problem(table.file, what, remedy), ((line, "") for line in at), len(at))
    return header, rows, lines


def _parse(column: Column, texts: list[str]) -> tuple[pa.Array, dict[str, list[int]]]:
    """Return the typed column, unreadable cells as nulls, and per complaint the rows it is about.

    Each distinct text is judged once.
    """
    encoded = pa.array(texts, pa.string()).dictionary_encode()
    parsed: list[Any] = []
    refused: dict[str, list[int]] = {}
    for index, text in enumerate(encoded.dictionary.to_pylist()):
        try:
            parsed.append(_PARSERS[column.kind](text) if text else None)
        except ValueError as error:
            parsed.append(None)
            refused.setdefault(str(error), []).append(index)
    codes = encoded.indices.to_numpy()
    rows = {said: np.flatnonzero(np.isin(codes, wrong)).tolist() for said, wrong in refused.items()}
    return pc.take(pa.array(parsed, ARROW_TYPES[column.kind]), encoded.indices), rows


def _parse_int(text: str) -> int:
    digits = text.strip(" \t")
    if _WHOLE.fullmatch(digits) is None:
        raise ValueError("is not a whole number; write digits only, blank means unknown")
    if len(digits.lstrip("-0")) > 18:
        raise ValueError("is too large a number; correct the value")
    return int(digits)


def _parse_float(text: str) -> float:
    digits = text.strip(" \t")
    if _NUMBER.fullmatch(digits) is None:
        raise ValueError("is not a number; write it as 29.85, blank means unknown")
    return float(digits)


def _parse_date(text: str) -> dt.date:
    day = text.strip(" \t")
    try:
        if len(day) != 10 or day[4] + day[7] != "--":
            raise ValueError
        return dt.date.fromisoformat(day)
    except ValueError:
        raise ValueError("is not a date; write it as 2024-01-31, blank means unknown") from None


def _parse_bool(text: str) -> bool:
    if text not in ("True", "False"):
        raise ValueError("is not a boolean; write True or False, blank means unknown")
    return text == "True"


_PARSERS: dict[Kind, Callable[[str], Any]] = {
    "string": str,
    "date": _parse_date,
    "int": _parse_int,
    "float": _parse_float,
    "bool": _parse_bool,
}
