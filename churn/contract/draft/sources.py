"""What was understood of exports: the files, what each is to the customers, and how it is known who left.

Who left is said by a column, or by who is missing the month after; columns that would give it away are
named.
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
    """One kind of file, with what its columns are."""

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
        """Say whether no value of a column stands twice in a month, and none is blank."""
        return all(
            source in rows.column_names
            and pc.count_distinct(rows[source]).as_py() == rows.num_rows
            and not pc.any(pc.equal(rows[source], "")).as_py()
            for rows in self.export.months
        )


@dataclass(frozen=True)
class BusinessPart:
    """What a file is to the customers: its role, and the column of the population that leads to it."""

    source: Source
    role: Role
    via: str = ""


@dataclass(frozen=True)
class Label:
    """How it is known who left; `is_guess` where nothing in the files says it."""

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
        key: what the customers' key is called in the population's file; empty where no column is one.
        keys: the other columns that may be it, each with its file.
        parts: the files, the population first.
        left_out: the columns that should be no feature, with the reason, by file and name.
        remarks: what else is to be known of a column, by file and name.
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
    """Say whether the values of a column are mostly among those of another file's column."""
    if source.column(column).kind not in ("string", "int") or source.column(column).distinct < 2:
        return False
    # In the first months of an export, what it refers to may not be there yet.
    shares = known_shares(source, column, other, name)
    return may_refer(other.column(name)) and max(shares) >= _LEAST_KNOWN


def may_refer(column: Profile) -> bool:
    """Say whether a column may lead to another file: it is a key by its name, or has many values."""
    return bool(OF_KEYS & set(words(column.source))) or not column.is_category


def known_shares(source: Source, column: str, other: Source, name: str) -> list[float]:
    """Return, per month looked at, the share of a column's values that another file's column has."""
    shares = []
    for mine, theirs in zip(source.export.months, other.export.months, strict=False):
        if column in mine.column_names and name in theirs.column_names and mine.num_rows:
            is_known = pc.is_in(mine[column], value_set=theirs[name].combine_chunks())
            shares.append(float(pc.mean(is_known).as_py()))
    return shares or [0.0]


def span(source: Source, column: Profile) -> tuple[dt.date, dt.date] | None:
    """Return the first and the last day of a column of dates in the last month that was looked at."""
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


_OF_LEAVING = frozenset(
    [
        "churn",
        "churned",
        "left",
        "exited",
        "exit",
        "attrition",
        "attrited",
        "cancelled",
        "canceled",
        "gone",
    ]
)
_WORDS_OF_LEAVING = frozenset(
    [
        "churn",
        "churned",
        "cancelled",
        "canceled",
        "closed",
        "terminated",
        "expired",
        "left",
        "gone",
        "exited",
    ]
)
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
    """Return how it is known who left, by what the files hold."""
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
    """Say how many customers of the first month are missing in the second; nothing where none is."""
    months = population.export.months
    if not key or len(months) == 1:
        return ""
    first, second = (rows[key] for rows in months[:2])
    kept = pc.sum(pc.is_in(first, value_set=second.combine_chunks())).as_py() or 0
    gone = len(first) - kept
    return f"{gone:,} of the first month's {len(first):,} are missing in the second" if gone else ""


def as_labels(part: BusinessPart, label: Label, key: str) -> BusinessPart:
    """Return the file of labels as such, if it holds nothing else."""
    others = [c for c in part.source.names if c != label.column and plain(c) != plain(key)]
    is_labels = part.source is label.source and part.role == "state" and not others
    return BusinessPart(part.source, "labels", part.via) if is_labels else part


def tells(source: Source, column: Profile, label: Label) -> bool:
    """Say whether a column beside the label gives it away."""
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
    return len(pairs) == column.distinct + bool(column.blanks) and column.distinct <= 10
