"""The second, slow read of a file that the fast one gave up on: it names each wrong cell, row or byte."""

import codecs
import csv
import datetime as dt
import re
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from churn.contract.structure import Column, Table
from churn.contract.types import Kind
from churn.deliveries.files import (
    ARROW_TYPES,
    Reading,
    Source,
    open_source,
    plain_name,
    records,
    sha256_of,
)
from churn.deliveries.problems import SHOWN_PER_KIND, Problem, cells

_SAVE_AS = "save the file as UTF-8, values separated by commas"
_BLOCK = 8 << 20
_SLICE = 100_000  # rows
_BOMS_16 = (b"\xff\xfe", b"\xfe\xff")
_WHOLE = re.compile(r"(-?[0-9]+)(\.0+)?")
_NUMBER = re.compile(r"-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def diagnose(source: Source, table: Table, reader_error: str = "") -> Reading:
    """Read the file cell by cell and list what is wrong.

    Args:
        source: the file, or its bytes.
        table: the file of the contract that it should be.
        reader_error: why the fast read gave up; it is the problem where nothing else is wrong here.
    """
    sha256 = sha256_of(source)
    if _is_empty(source):
        empty = Problem(table.file, "the file is empty", "export it again")
        return Reading(table.file, source, sha256, None, (empty,))
    undecodable = _undecodable(source, table)
    if undecodable:
        return Reading(table.file, source, sha256, None, tuple(undecodable))
    cells_ = _Cells(table)
    try:
        with open_source(source) as file:
            everything = records(file)
            header = next(everything)[1]
            wrong = header_problems(header, table)
            if not wrong:
                cells_.read(list(map(plain_name, header)), everything)
    except csv.Error as error:
        return Reading(table.file, source, sha256, None, (_broken_quote(source, table, error),))
    if wrong:
        return Reading(table.file, source, sha256, None, tuple(wrong))
    problems = cells_.problems()
    if not cells_.lines:
        remedy = "export it again" if not problems else "correct the rows above"
        problems.append(Problem(table.file, "the file has a header but no rows to read", remedy))
        return Reading(table.file, source, sha256, None, tuple(problems))
    if reader_error and not problems:
        problems.append(Problem(table.file, f"the file cannot be read: {reader_error}", _SAVE_AS))
    return Reading(
        table.file,
        source,
        sha256,
        pa.concat_tables(cells_.parts),
        tuple(problems),
        cells_.lines,
        cells_.unreadable,
    )


class _Cells:
    """The rows of a file, read and checked a slice at a time, so that memory holds the texts of one slice."""

    def __init__(self, table: Table) -> None:
        self.parts: list[pa.Table] = []
        self.lines = array("q")
        self.unreadable: dict[str, array[int]] = defaultdict(lambda: array("q"))
        self._table = table
        self._ragged: dict[str, _Complaint] = defaultdict(_Complaint)
        self._refused: dict[tuple[str, str], _Complaint] = defaultdict(_Complaint)

    def read(self, header: list[str], rows: Iterator[tuple[int, list[str]]]) -> None:
        while part := list(islice(rows, _SLICE)):
            whole = []
            for line, values in part:
                if len(values) == len(header):
                    whole.append((line, values))
                else:
                    what = f"the row has {len(values)} values where the header has {len(header)}"
                    self._ragged[what].add(line, "")
            if whole:
                self._judge(header, whole)

    def problems(self) -> list[Problem]:
        """Return what is wrong: rows first, then cells in the order of the columns."""
        remedy = "give it one value per column; a value with a comma stands in quotes"
        problems: list[Problem] = []
        for what, kind in self._ragged.items():
            problems += cells(Problem(self._table.file, what, remedy), kind.first, kind.count)
        names = [column.name for column in self._table.columns]
        for (name, complaint), kind in sorted(
            self._refused.items(), key=lambda item: names.index(item[0][0])
        ):
            what, _, remedy = complaint.partition("; ")
            template = Problem(self._table.file, what, remedy, column=name)
            problems += cells(template, kind.first, kind.count)
        return problems

    def _judge(self, header: list[str], rows: list[tuple[int, list[str]]]) -> None:
        begin = len(self.lines)
        self.lines.extend(line for line, _ in rows)
        columns: dict[str, pa.Array] = {}
        for column in self._table.columns:
            if column.name not in header:
                columns[column.name] = pa.nulls(len(rows), ARROW_TYPES[column.kind])
                continue
            index = header.index(column.name)
            texts = [values[index] for _, values in rows]
            columns[column.name], refused = _parse(column, texts)
            for complaint, at in refused.items():
                self.unreadable[column.name].extend(begin + row for row in at)
                for row in at:
                    self._refused[column.name, complaint].add(rows[row][0], texts[row])
        self.parts.append(pa.table(columns))


@dataclass
class _Complaint:
    """One kind of fault: how often it occurs, and the first few places as (line, value)."""

    count: int = 0
    first: list[tuple[int, str]] = field(default_factory=list)

    def add(self, line: int, value: str) -> None:
        self.count += 1
        if len(self.first) < SHOWN_PER_KIND:
            self.first.append((line, value))


def header_problems(header: list[str], table: Table) -> list[Problem]:
    """Return what is wrong with the column names; their order and case are free."""
    plain = [plain_name(name) for name in header]
    known = [column.name for column in table.columns]
    required = [column.name for column in table.columns if not column.optional]
    problems: list[Problem] = []

    def add(column: str, what: str, remedy: str) -> None:
        problems.append(Problem(table.file, what, remedy, row=1, column=column))

    for name in [name for name in required if name not in plain]:
        add(name, "the column is missing", f"add it; the columns are {', '.join(required)}")
    for name, written in dict(zip(plain, header, strict=True)).items():
        if name not in known:
            what = "is not a column of this file" if name else "a column has no name"
            add(written, what, "remove it or correct its name; columns are separated by commas")
        elif plain.count(name) > 1:
            add(name, f"the column stands {plain.count(name)} times", "keep one of them")
    return problems


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(_BLOCK):
        yield block


def _is_empty(source: Source) -> bool:
    with open_source(source) as file:
        return not any(block.strip(b"\xef\xbb\xbf \t\r\n") for block in _blocks(file))


def _undecodable(source: Source, table: Table) -> list[Problem]:
    with open_source(source) as file:
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            for block in _blocks(file):
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            pass
        else:
            return []
        file.seek(0)
        if file.read(2) in _BOMS_16:
            return [Problem(table.file, "the file is UTF-16, not UTF-8", _SAVE_AS, row=1)]
        file.seek(0)
        kind = _Complaint()
        for line, content in enumerate(_byte_lines(file), start=1):
            try:
                content.decode("utf-8")
            except UnicodeDecodeError as error:
                kind.add(line, f"byte 0x{content[error.start]:02x} at {error.start + 1}")
    return cells(Problem(table.file, "is not UTF-8", _SAVE_AS), kind.first, kind.count)


def _byte_lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a file, whichever line ending it uses."""
    rest = b""
    for block in _blocks(file):
        # A \r\n may be split between two blocks.
        *whole, rest = re.split(rb"\r\n|\r(?!\Z)|\n", rest + block)
        yield from whole
    yield from re.split(rb"\r", rest)


def _broken_quote(source: Source, table: Table, error: csv.Error) -> Problem:
    line = 1
    try:
        with open_source(source) as file:
            for number, values in records(file):
                line = number + 1 + sum(value.count("\n") for value in values)
    except csv.Error:
        pass
    remedy = 'close the quote, or write a quote inside a value as ""'
    return Problem(table.file, f"the quoting is broken ({error})", remedy, row=line)


def _parse(column: Column, texts: list[str]) -> tuple[pa.Array, dict[str, list[int]]]:
    """Return the typed column, unreadable cells as nulls, and the rows that each complaint is about.

    Each distinct text is parsed once.
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
    rows = {
        complaint: np.flatnonzero(np.isin(codes, wrong)).tolist()
        for complaint, wrong in refused.items()
    }
    return pc.take(pa.array(parsed, ARROW_TYPES[column.kind]), encoded.indices), rows


def _parse_int(text: str) -> int:
    whole = _WHOLE.fullmatch(text.strip(" \t"))
    if whole is None:
        raise ValueError("is not a whole number; write digits only, blank means unknown")
    if len(whole[1].lstrip("-0")) > 18:
        raise ValueError("is too large a number; correct the value")
    return int(whole[1])


def _parse_float(text: str) -> float:
    digits = text.strip(" \t")
    if _NUMBER.fullmatch(digits) is None:
        raise ValueError("is not a number; write it as 29.85, blank means unknown")
    return float(digits) + 0.0  # -0.0 becomes 0


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
