"""What the files are to each other: who the customer is, which file holds what of whom, who left.

A guess is made from values and names alone. Each is said, and each that a person must decide is a decision.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from churn.contract.draft.columns import Marks, Profile, marks_of, profile
from churn.contract.draft.exports import Export, Exports
from churn.contract.draft.names import contract_name, plain, words
from churn.errors import ChurnError

Role = Literal["population", "state", "joined", "events", "joined_events", "labels", "apart"]

_PEOPLE = (
    "user",
    "customer",
    "member",
    "client",
    "subscriber",
    "subscription",
    "account",
    "contract",
)
OF_KEYS = frozenset(
    {
        "id",
        "key",
        "no",
        "number",
        "nr",
        "code",
        "uuid",
        "guid",
        "msisdn",
        "customer",
        "user",
        *_PEOPLE,
    }
)
_OF_LEAVING = frozenset(
    {
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
    }
)
_WORDS_OF_LEAVING = frozenset(
    {
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
    }
)
_OF_ENDS = frozenset(
    {
        "end",
        "ended",
        "cancel",
        "cancelled",
        "canceled",
        "termination",
        "terminated",
        "churn",
        "exit",
    }
)
_LEAST_KEPT = 0.3  # of the keys of a month, the next month's: fewer, and they are of events
_LEAST_KNOWN = 0.5  # of the values of a column that refers to another file


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
class Part:
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
    parts: tuple[Part, ...]
    label: Label
    left_out: dict[tuple[str, str], str]
    remarks: dict[tuple[str, str], list[str]]

    @property
    def population(self) -> Source:
        """The file that says who is there."""
        return self.parts[0].source


def understand(exports: Exports, key: str = "") -> Business:
    """Return what the files are to each other.

    Args:
        exports: the files.
        key: the customers' key as a person knows it, by its name in the files; guessed where not given.

    Raises:
        ChurnError: no file has a column of the name given.
    """
    sources = [_source(export) for export in exports.files]
    candidates = _keys(sources)
    chosen = _chosen(key, sources, candidates)
    if chosen is None:
        population, key_name = max(sources, key=lambda source: source.export.rows.num_rows), ""
    else:
        population, key_name = chosen
    others = tuple((s.name, c) for s, c in candidates if (s.name, c) != (population.name, key_name))
    parts = [Part(population, "population")]
    parts += [_part(source, population, key_name) for source in sources if source is not population]
    label = _label(parts, key_name)
    if label.kind == "file" and label.source is not None:
        parts = [_as_labels(part, label, key_name) for part in parts]
    left_out = _left_out(parts, label, key_name)
    return Business(
        exports, key_name, others, tuple(parts), label, left_out, _remarks(parts, key_name)
    )


def _source(export: Export) -> Source:
    rows = export.rows
    counts = {name: _counts(rows[name]) for name in rows.column_names}
    marks, is_unsure = marks_of(counts.values())
    columns = tuple(profile(name, count, marks) for name, count in counts.items())
    notes = ["1,234 is read as 1.234: or do commas part thousands?"] if is_unsure else []
    first, last = export.months[0].column_names, export.months[-1].column_names
    notes += [f"{name} is not in the first month" for name in last if name not in first]
    notes += [f"{name} is not in the last month" for name in first if name not in last]
    return Source(export, contract_name(export.stem), columns, marks, tuple(notes))


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    counted = pc.value_counts(pc.fill_null(column, ""))
    return {each["values"]: each["counts"] for each in counted.to_pylist()}


def _keys(sources: list[Source]) -> list[tuple[Source, str]]:
    """Return the columns that may be the customers' key, the likeliest first."""
    shared = Counter(name for source in sources for name in set(map(plain, source.names)))
    scored = []
    for source in sources:
        for column in source.columns:
            if _may_be_key(source, column, shared) and _is_kept(source, column.source):
                score = _score(source, column, sources, shared)
                scored.append((-score, _rank(source.name), source.name, column.source))
    by_name = {source.name: source for source in sources}
    ordered = [(by_name[name], column) for _, _, name, column in sorted(scored)]
    # What is in several files names something of theirs; what is in one, as a rule, its rows.
    return [each for each in ordered if shared[plain(each[1])] > 1] or ordered


def _may_be_key(source: Source, column: Profile, shared: Counter[str]) -> bool:
    if column.kind not in ("string", "int") or column.blanks or column.distinct < 2:
        return False
    named = set(words(column.source))
    is_named = bool(OF_KEYS & named) or shared[plain(column.source)] > 1
    if "name" in named:
        return False
    # Whole numbers and free texts are unique by chance, too.
    return is_named and source.is_unique(column.source)


def _is_kept(source: Source, column: str) -> bool:
    """Say whether the values are there again in the month after; events come but once."""
    months = source.export.months
    if len(months) == 1:
        return True
    first, second = (rows[column] for rows in months[:2])
    kept = pc.sum(pc.is_in(first, value_set=second.combine_chunks())).as_py() or 0
    return bool(kept >= _LEAST_KEPT * len(first))


def _score(source: Source, column: Profile, sources: list[Source], shared: Counter[str]) -> int:
    name = plain(column.source)
    score = 4 * (shared[name] > 1) + 2 * bool(OF_KEYS & set(words(column.source)))
    # A file that refers to another is the finer one: of an account, it holds the subscriptions.
    for other in sources:
        for reference in source.columns:
            same = next(
                (each for each in other.names if plain(each) == plain(reference.source)), ""
            )
            is_another = other is not source and plain(same) != name
            if same and is_another and not source.is_unique(reference.source):
                score += 3 * (
                    other.is_unique(same) and _refers(source, reference.source, other, same)
                )
    return score


def _rank(source: Source | str) -> int:
    name = source if isinstance(source, str) else source.name
    return next((rank for rank, word in enumerate(_PEOPLE) if word in name), len(_PEOPLE))


def _refers(source: Source, column: str, other: Source, name: str) -> bool:
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


def _chosen(
    key: str, sources: list[Source], candidates: list[tuple[Source, str]]
) -> tuple[Source, str] | None:
    if not key:
        return candidates[0] if candidates else None
    having = [
        (source, name) for source in sources for name in source.names if plain(name) == plain(key)
    ]
    if not having:
        every = sorted({name for source in sources for name in source.names})
        raise ChurnError(
            f"no file has a column {key!r}", where="--key", remedy=f"name one of {', '.join(every)}"
        )
    unique = [(source, name) for source, name in having if source.is_unique(name)]
    if not unique:
        raise ChurnError(
            f"no file has {key!r} once per row, so none says who is there",
            where="--key",
            remedy="export a file with one row per customer, or name another column",
        )
    most = max(source.export.months[0].num_rows for source, _ in unique)
    largest = [each for each in unique if each[0].export.months[0].num_rows == most]
    return min(largest, key=lambda each: (_rank(each[0]), each[0].name))


def _part(source: Source, population: Source, key: str) -> Part:
    """Return what a file is to the customers."""
    own = next((name for name in source.names if key and plain(name) == plain(key)), "")
    if own:
        return Part(source, "state" if source.is_unique(own) else "events", own)
    for name in source.names:
        leads = next((each for each in population.names if plain(each) == plain(name)), "")
        if not leads or not key or not may_refer(population.column(leads)):
            continue
        if source.is_unique(name) and _refers(population, leads, source, name):
            return Part(source, "joined", name)
        # Not everybody has events, and most events are of somebody.
        if not source.is_unique(name) and _refers(source, name, population, leads):
            return Part(source, "joined_events", name)
    return Part(source, "apart")


def _label(parts: list[Part], key: str) -> Label:
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
    if column.kind == "date" and column.blanks > column.rows * _LEAST_KEPT and _OF_ENDS & name:
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


def _as_labels(part: Part, label: Label, key: str) -> Part:
    """Return the file of labels as such, if it holds nothing else."""
    others = [c for c in part.source.names if c != label.column and plain(c) != plain(key)]
    is_labels = part.source is label.source and part.role == "state" and not others
    return Part(part.source, "labels", part.via) if is_labels else part


def _left_out(parts: list[Part], label: Label, key: str) -> dict[tuple[str, str], str]:
    """Return the columns that models should not use, and why."""
    reasons: dict[tuple[str, str], str] = {}
    references = {plain(part.via) for part in parts if part.via} | {plain(key)}
    for part in parts:
        for column in part.source.columns:
            place = part.source.name, column.source
            if column.is_constant:
                reasons[place] = "the same for everybody"
            elif plain(column.source) in references:
                reasons[place] = "it leads to another file"
            elif column.kind == "string" and not column.is_category and column.distinct > 50:
                reasons[place] = f"{column.distinct:,} different texts: a name, not a category"
            elif label.source is part.source and _tells(part.source, column, label):
                reasons[place] = (
                    f"it says the same as {label.column!r}: known only when somebody left"
                )
    return reasons


def _tells(source: Source, column: Profile, label: Label) -> bool:
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


def _remarks(parts: list[Part], key: str) -> dict[tuple[str, str], list[str]]:
    """Return the columns that two files, or one file twice, have in common."""
    remarks: dict[tuple[str, str], list[str]] = {}
    population = parts[0].source
    for part in parts:
        rows = part.source.export.months[0]
        names = part.source.names
        for index, name in enumerate(names):
            twin = _twin(rows, name, names[:index])
            if twin and not part.source.column(name).is_constant:
                remarks.setdefault((part.source.name, name), []).append(f"the same as {twin}")
        if part.role in ("state", "joined"):
            for name, text in _in_common(part, population, key):
                remarks.setdefault((part.source.name, name), []).append(text)
    return remarks


def _twin(rows: pa.Table, name: str, others: list[str]) -> str:
    """Return the first of the other columns that holds the same in every row."""
    known = set(rows.column_names)
    same = (n for n in others if {n, name} <= known and rows[n].equals(rows[name]))
    return next(same, "")


def _in_common(part: Part, population: Source, key: str) -> Iterable[tuple[str, str]]:
    """Yield the columns that the population's file has, too, and how often they agree."""
    via = (
        key
        if part.role == "state"
        else next(n for n in population.names if plain(n) == plain(part.via))
    )
    mine, theirs = part.source.export.months[0], population.export.months[0]
    keys = mine[part.via].to_pylist()
    for name in part.source.names:
        twin = next((each for each in population.names if plain(each) == plain(name)), "")
        if not twin or name == part.via or name not in mine.column_names:
            continue
        values = dict(zip(keys, mine[name].to_pylist(), strict=True))
        pairs = [
            (values[key], value)
            for key, value in zip(theirs[via].to_pylist(), theirs[twin].to_pylist(), strict=True)
            if key in values
        ]
        same = sum(a.strip().lower() == b.strip().lower() for a, b in pairs) / max(len(pairs), 1)
        yield name, f"{population.name} has a {twin}, too; they agree for {same:.0%}"


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
