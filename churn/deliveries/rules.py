"""The rules that a drop must keep: those of each file, as pandera schemas, and those between its files.

The schemas follow from the contract, and each failure names its row. Files that cannot be read at all are the
readers' business; months that are impossible beside other months are that of `churn.plausibility`. Pandera:
https://pandera.readthedocs.io
"""

import datetime as dt
import functools
import sys
import warnings
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from churn.contract import user_ids
from churn.contract.in_force import USER_ID, USERS
from churn.contract.structure import Column, Table
from churn.deliveries.files import ARROW_TYPES, Reading, Source, plain_schema
from churn.deliveries.problems import SHOWN_PER_KIND, Problem, cells
from churn.deliveries.read_csv import read_csv
from churn.fingerprint import ByUser

if TYPE_CHECKING:
    from pandera.pandas import Check, DataFrameSchema


_WHAT = f"is not a user of this month's {USERS.shown_file}"
_REMEDY = "add the user there, or remove the row here"


@dataclass(frozen=True)
class Users:
    """The users that a month's files are checked against.

    Args:
        ids: their user_ids; sorted where they come from one file.
        file: their rows, where they come from one file.
    """

    ids: pa.ChunkedArray
    file: ByUser | None = None

    @classmethod
    def of(cls, users: ByUser) -> "Users":
        """Return the users of one users.csv."""
        return cls(users.ids, users)

    def are_those_of(self, file: ByUser | None) -> bool:
        """Return whether the file has exactly these users: the usual case, and cheap to see."""
        return file is not None and bool(file.ids.equals(self.ids))


def strangers(reading: Reading, table: Table, users: Users) -> list[Problem]:
    """Return the users of a file who are not in users.csv."""
    if reading.rows is None or users.are_those_of(reading.by_user):
        return []
    ids = reading.rows["user_id"]
    rows = missing(ids, users.ids)
    shown = rows[:SHOWN_PER_KIND].to_pylist()
    lines = reading.line_numbers(shown)
    template = Problem(table.file, _WHAT, _REMEDY, column="user_id")
    return cells(template, ((lines[row], ids[row].as_py()) for row in shown), len(rows))


def missing(ids: pa.ChunkedArray, users: pa.ChunkedArray) -> pa.Array:
    """Return the indices of those `ids`, nulls aside, that are not among the `users`."""
    known = pc.is_in(ids, value_set=users)
    return pc.indices_nonzero(pc.and_(pc.invert(known), pc.is_valid(ids)))


_DATES = (dt.date(1900, 1, 1), dt.date(2200, 1, 1))
_CONTROL = r"[\x00-\x1f\x7f]"
_BLANK = ("is blank", "fill it in: every row needs a {column}")
_REPEATED = ("stands in several rows", "keep one row per user")
_ALIKE = (
    "differs from another row's id in spaces, invisible characters or Unicode form only",
    "keep one row per user",
)
# Of the columns' own type; a number beyond cannot be read at all.
_LARGEST_INT = 2**63 - 1
# How many rows pandera sees at a time: memory stays bounded, however bad a file is.
_SLICE = 1 << 20


@dataclass
class _Breaches:
    """The cells that break one rule: how many there are, and the first few as (row counted from 0, value)."""

    count: int = 0
    first: list[tuple[int, str]] = field(default_factory=list)

    def add(self, count: int, cells_: Iterable[tuple[int, str]]) -> None:
        self.count += count
        self.first += islice(cells_, SHOWN_PER_KIND - len(self.first))


def load(source: Source, table: Table) -> tuple[Reading, list[Problem]]:
    """Read one file and check it against its rules; the rows are sound where no problem is listed."""
    reading = read_csv(source, table)
    return reading, [*reading.problems, *broken_rules(reading, table)]


def broken_rules(reading: Reading, table: Table) -> list[Problem]:
    """Return the cells that break a rule of the file: keys, blanks, impossible values."""
    if reading.rows is None:
        return []
    breaches_by_rule: dict[tuple[str, str], _Breaches] = defaultdict(_Breaches)
    for start in range(0, reading.rows.num_rows, _SLICE):
        _hold(reading, table, start, breaches_by_rule)
    _hold_ids(reading.rows[USER_ID.name], breaches_by_rule)
    _find_repeats(reading, breaches_by_rule[USER_ID.name, _REPEATED[0]])
    shown = [row for breaches in breaches_by_rule.values() for row, _ in breaches.first]
    lines = reading.line_numbers(shown) if shown else {}
    names = [column.name for column in table.columns]
    problems: list[Problem] = []
    for (name, check), breaches in sorted(
        breaches_by_rule.items(), key=lambda item: names.index(item[0][0])
    ):
        what, remedy = _fault_and_remedy(check)
        template = Problem(reading.file, what, remedy.format(column=name), column=name)
        at = ((lines[row], value) for row, value in breaches.first)
        problems += cells(template, at, breaches.count)
    return problems


def _hold(
    reading: Reading, table: Table, start: int, breaches_by_rule: dict[tuple[str, str], _Breaches]
) -> None:
    """Check one slice of the rows against the schema."""
    import pandas as pd
    from pandera.errors import SchemaErrors

    assert reading.rows is not None  # noqa: S101
    rows = reading.rows.slice(start, _SLICE).cast(plain_schema(table))
    frame = rows.to_pandas(types_mapper=pd.ArrowDtype)
    try:
        with warnings.catch_warnings():
            # pandera joins its lists of failures in a way that pandas warns about.
            warnings.simplefilter("ignore", FutureWarning)
            schema_of(table).validate(frame, lazy=True)
    except SchemaErrors as error:
        for key, group in error.failure_cases.groupby(["column", "check"], sort=False):
            name, check = map(str, key)
            named_already = reading.unreadable.get(name, ()) if check == "not_nullable" else ()
            at = np.unique(group["index"].to_numpy(np.int64))
            at = at[~np.isin(at + start, list(named_already))]
            shown = ((start + row, _shown(rows[name][row])) for row in at.tolist())
            breaches_by_rule[name, check].add(len(at), shown)


def _hold_ids(ids: pa.ChunkedArray, breaches_by_rule: dict[tuple[str, str], _Breaches]) -> None:
    """Check the ids against the rules for user_ids; the bytes alone clear nearly all of them."""
    for rule, cells_ in user_ids.faults(ids).items():
        breaches_by_rule[USER_ID.name, f"{rule.what}; {rule.remedy}"].add(len(cells_), cells_)
    alike = user_ids.lookalikes(ids)
    breaches_by_rule[USER_ID.name, "; ".join(_ALIKE)].add(len(alike), alike)


def _find_repeats(reading: Reading, breaches: _Breaches) -> None:
    """Find the rows of users who have more than one row; blanks are not users."""
    by_user = reading.by_user
    if reading.rows is None or (by_user is not None and not by_user.order.has_repeats):
        return
    ids = reading.rows["user_id"].combine_chunks().dictionary_encode()
    codes = ids.indices.fill_null(len(ids.dictionary)).to_numpy()
    counts = np.bincount(codes, minlength=len(ids.dictionary) + 1)
    counts[-1] = 0
    rows = np.flatnonzero(counts[codes] > 1)
    breaches.add(len(rows), ((row, ids[row].as_py()) for row in rows.tolist()))


@functools.cache
def schema_of(table: Table) -> "DataFrameSchema":
    """Return the pandera schema of the file's typed rows."""
    import pandas as pd
    from pandera.pandas import Column as PanderaColumn
    from pandera.pandas import DataFrameSchema

    columns = {
        column.name: PanderaColumn(
            pd.ArrowDtype(ARROW_TYPES[column.kind]),
            checks=_checks(column),
            nullable=not column.required,
            description=column.kind,
        )
        for column in table.columns
    }
    return DataFrameSchema(columns, strict=True, ordered=True, name=table.name)


def _checks(column: Column) -> "list[Check]":
    from pandera.pandas import Check

    checks = []
    if column.kind == "date":
        first, end = _DATES
        what = f"is not between {first} and {end}; correct the date"
        checks.append(Check(lambda s: (s >= first) & (s < end), error=what))
    # The rule for user_ids is in churn.contract.user_ids.
    if column.kind == "string" and column != USER_ID:
        what = (
            "holds a line break or another control character; remove it"
            ' (a quote " that is never closed also does this)'
        )
        checks.append(Check(lambda s: ~s.str.contains(_CONTROL, regex=True), error=what))
    if column.kind in ("int", "float") and (bounds := _bounds(column)) is not None:
        low, high, what = bounds
        checks.append(Check.in_range(low, high, error=f"{what}; correct the value"))
    return checks


def _bounds(column: Column) -> tuple[float, float, str] | None:
    """Return between what a column's values lie, and what is wrong with the others; None where all may be.

    A float always has bounds: the reader lets NaN and the infinities through, and no column means them.
    """
    low, high = column.minimum, column.maximum
    if low is not None and high is not None:
        return low, high, f"is not between {low:,.15g} and {high:,.15g}"
    if column.kind == "float":
        largest = sys.float_info.max
        if low is not None:
            return low, largest, f"is not a number of {low:,.15g} or more"
        if high is not None:
            return -largest, high, f"is not a number of at most {high:,.15g}"
        return -largest, largest, "is not a finite number"
    if low is not None:
        return low, _LARGEST_INT, f"is not {low:,.15g} or more"
    if high is not None:
        return -_LARGEST_INT, high, f"is not at most {high:,.15g}"
    return None


def _fault_and_remedy(check: str) -> tuple[str, str]:
    if check == "not_nullable":
        return _BLANK
    if check == _REPEATED[0]:
        return _REPEATED
    what, remedy = check.split("; ", 1)
    return what, remedy


def _shown(cell: pa.Scalar) -> str:
    return str(cell.as_py()) if cell.is_valid else ""
