"""What was understood of the exports: how each file relates to the customers, and how it is known who left.

A column says who left, or they are missing in the month after. Columns that would give the answer away are
pointed out.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from typing import Literal

import pyarrow.compute as pc

from churn.contract.draft.columns import Marks, Profile, words
from churn.contract.draft.exports import Export, Exports
from churn.contract.structure import plain

Role = Literal["population", "state", "joined", "events", "joined_events", "labels", "apart"]

PEOPLE = (
    "user", "customer", "member", "client", "subscriber", "subscription", "account", "contract"
)  # fmt: skip
OF_KEYS = frozenset({"id", "key", "no", "number", "nr", "code", "uuid", "guid", "msisdn", *PEOPLE})
# The least share of a column's values that the other file has, where the column refers to it.
_LEAST_KNOWN = 0.5


@dataclass(frozen=True)
class Source:
    """One kind of file, with the profiles of its columns."""

    export: Export
    name: str
    columns: tuple[Profile, ...]
    marks: Marks
    notes: tuple[str, ...] = ()

    def column(self, source: str) -> Profile:
        """Return a column by its name in the file."""
        return next(column for column in self.columns if column.source == source)

    @property
    def names(self) -> list[str]:
        """The columns' names in the file."""
        return [column.source for column in self.columns]

    def is_unique(self, source: str) -> bool:
        """Return whether no value of a column occurs twice in a month, and none is blank."""
        return all(
            source in rows.column_names
            and pc.count_distinct(rows[source]).as_py() == rows.num_rows
            and not pc.any(pc.equal(rows[source], "")).as_py()
            for rows in self.export.months
        )


@dataclass(frozen=True)
class BusinessPart:
    """How a file relates to the customers: its role, and the column that links it to the population."""

    source: Source
    role: Role
    via: str = ""


@dataclass(frozen=True)
class Label:
    """How it is known who left; `is_guess` is true where nothing in the files says so."""

    kind: Literal["file", "absent", "status", "end_date"]
    source: Source | None = None
    column: str = ""
    gone: tuple[str, ...] = ()
    text: str = ""
    is_guess: bool = False


@dataclass(frozen=True)
class Business:
    """Everything that was understood of a folder of exports.

    Args:
        key: the name of the customers' key in the population's file; empty where no column is a key.
        keys: the other columns that may be the key, as (file, column).
        parts: the files, the population first.
        left_out: why columns should not be features, by file and name.
        remarks: what else should be known about columns, by file and name.
    """

    exports: Exports
    key: str
    keys: tuple[tuple[str, str], ...]
    parts: tuple[BusinessPart, ...]
    label: Label
    left_out: dict[tuple[str, str], str]
    remarks: dict[tuple[str, str], list[str]]

    @property
    def population(self) -> Source:
        """The file that says who is there."""
        return self.parts[0].source


def refers(source: Source, column: str, other: Source, name: str) -> bool:
    """Return whether most values of a column are among those of another file's column."""
    if source.column(column).kind not in ("string", "int") or source.column(column).distinct < 2:
        return False
    # In the first months of an export, what the column refers to may not be there yet.
    shares = known_shares(source, column, other, name)
    return may_refer(other.column(name)) and max(shares) >= _LEAST_KNOWN


def may_refer(column: Profile) -> bool:
    """Return whether a column may refer to another file: it is named like a key, or has many values."""
    return bool(OF_KEYS & set(words(column.source))) or not column.is_category


def known_shares(source: Source, column: str, other: Source, name: str) -> list[float]:
    """Return, for each month that was read, the share of a column's values that another file's column has."""
    shares = []
    for mine, theirs in zip(source.export.months, other.export.months, strict=False):
        if column in mine.column_names and name in theirs.column_names and mine.num_rows:
            is_known = pc.is_in(mine[column], value_set=theirs[name].combine_chunks())
            shares.append(float(pc.mean(is_known).as_py()))
    return shares or [0.0]


def span(source: Source, column: Profile) -> tuple[dt.date, dt.date] | None:
    """Return the first and the last day in a column of dates, in the last month that was read."""
    days = []
    rows = source.export.months[-1]
    if column.source not in rows.column_names:
        return None
    for text in pc.unique(rows[column.source]).to_pylist():
        for form in column.formats:
            try:
                days.append(dt.datetime.strptime(text.strip(), form).date())
            except ValueError:
                continue
            break
    return (min(days), max(days)) if days else None


# Words in the name of a column that says who left, as values of a status, and in the name of an end date.
_OF_LEAVING = frozenset(
    ["churn", "churned", "left", "exited", "exit", "attrition", "attrited", "cancelled", "canceled", "gone"]
)  # fmt: skip
_WORDS_OF_LEAVING = frozenset(
    ["churn", "churned", "cancelled", "canceled", "closed", "terminated", "expired", "left", "gone", "exited"]
)  # fmt: skip
_OF_ENDS = frozenset(
    [
        "end",
        "ended",
        "cancel",
        "cancelled",
        "canceled",
        "termination",
        "terminated",
        "churn",
        "exit",
    ]
)
# The least share of blanks in a column of end dates: customers who are still there have none.
_LEAST_BLANK = 0.3
# A column that says the same as the label has at most this many distinct values.
_FEW = 10


def label_of(parts: list[BusinessPart], key: str) -> Label:
    """Return how it is known who left, judged by what the files hold."""
    keyed = [part for part in parts if part.role in ("population", "state")]
    for part in keyed:
        for column in part.source.columns:
            if column.kind == "bool" and _OF_LEAVING & set(words(column.source)):
                text = f"{column.source!r} in {part.source.export.files} says who left"
                return Label("file", part.source, column.source, text=text)
    missing = _missing(parts[0].source, key)
    for part in keyed:
        for column in part.source.columns:
            label = _label_of_column(part.source, column)
            if label is not None:
                return replace(label, text=label.text + (f"; {missing}" if missing else ""))
    if missing:
        return Label("absent", text=missing)
    text = "nothing in the files says who left"
    return Label("absent", text=text, is_guess=True)


def _label_of_column(source: Source, column: Profile) -> Label | None:
    name = set(words(column.source))
    if column.kind == "string" and column.is_category and {"status", "state"} & name:
        gone = tuple(each for each in column.values if set(words(each)) & _WORDS_OF_LEAVING)
        if gone:
            text = f"{column.source!r} in {source.export.files} says {' or '.join(gone)}"
            return Label("status", source, column.source, gone, text)
    if column.kind == "date" and column.blanks > column.rows * _LEAST_BLANK and _OF_ENDS & name:
        text = f"{column.source!r} in {source.export.files} says when somebody left"
        return Label("end_date", source, column.source, text=text)
    return None


def _missing(population: Source, key: str) -> str:
    """Return a sentence on how many customers of the first month are missing in the second, if any."""
    months = population.export.months
    if not key or len(months) == 1:
        return ""
    first, second = (rows[key] for rows in months[:2])
    kept = pc.sum(pc.is_in(first, value_set=second.combine_chunks())).as_py() or 0
    gone = len(first) - kept
    return f"{gone:,} of the first month's {len(first):,} are missing in the second" if gone else ""


def as_labels(part: BusinessPart, label: Label, key: str) -> BusinessPart:
    """Return the part as the file of labels, if it holds nothing else."""
    others = [c for c in part.source.names if c != label.column and plain(c) != plain(key)]
    is_labels = part.source is label.source and part.role == "state" and not others
    return BusinessPart(part.source, "labels", part.via) if is_labels else part


def tells(source: Source, column: Profile, label: Label) -> bool:
    """Return whether a column other than the label gives the label away."""
    if label.kind not in ("file", "end_date") or column.source == label.column:
        return False
    rows = source.export.rows
    left = rows[label.column]
    if label.kind == "end_date":
        left = pc.not_equal(left, "")
    blank = pc.equal(rows[column.source], "")
    by_blank = set(zip(blank.to_pylist(), left.to_pylist(), strict=True))
    if column.blanks and len(by_blank) == 2 and len({b for b, _ in by_blank}) == 2:
        return True
    pairs = set(zip(rows[column.source].to_pylist(), left.to_pylist(), strict=True))
    return len(pairs) == column.distinct + bool(column.blanks) and column.distinct <= _FEW
