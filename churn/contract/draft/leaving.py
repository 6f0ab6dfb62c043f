"""Who left: which column says it, who is missing the month after, and what would give it away."""

from __future__ import annotations

from dataclasses import replace

import pyarrow.compute as pc

from churn.contract.draft.columns import Profile
from churn.contract.draft.names import words
from churn.contract.draft.sources import Label, Part, Source
from churn.contract.structure import plain

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
_LEAST_BLANK = 0.3  # of the dates of an end, those who are there have none
_FEW = 10  # different values of a column that says the same as the label


def label_of(parts: list[Part], key: str) -> Label:
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


def as_labels(part: Part, label: Label, key: str) -> Part:
    """Return the file of labels as such, if it holds nothing else."""
    others = [c for c in part.source.names if c != label.column and plain(c) != plain(key)]
    is_labels = part.source is label.source and part.role == "state" and not others
    return Part(part.source, "labels", part.via) if is_labels else part


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
