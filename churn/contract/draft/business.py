"""How the files relate: who the customers are, and which file holds what about them.

Guesses rest on values and names alone. Every guess is reported, and those that a person must settle are
listed as decisions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from churn.contract.draft.columns import Profile, contract_name, marks_of, profile, words
from churn.contract.draft.exports import Export, Exports
from churn.contract.draft.sources import (
    OF_KEYS,
    PEOPLE,
    Business,
    BusinessPart,
    Label,
    Source,
    as_labels,
    label_of,
    may_refer,
    refers,
    tells,
)
from churn.contract.structure import plain
from churn.errors import ChurnError

# Where fewer of a month's keys are there again in the next month, they are keys of events.
_LEAST_KEPT = 0.3
# A column with more distinct texts holds names, not categories.
_MOST_TEXTS = 50


def understand(exports: Exports, key: str = "") -> Business:
    """Return how the files relate to each other.

    Args:
        exports: the files.
        key: the name in the files of the customers' key; guessed by default.

    Raises:
        ChurnError: no file has a column of that name.
    """
    sources = [_source(export) for export in exports.files]
    candidates = _keys(sources)
    chosen = _chosen(key, sources, candidates)
    if chosen is None:
        population, key_name = max(sources, key=lambda source: source.export.rows.num_rows), ""
    else:
        population, key_name = chosen
    others = tuple((s.name, c) for s, c in candidates if (s.name, c) != (population.name, key_name))
    parts = [BusinessPart(population, "population")]
    parts += [_part(source, population, key_name) for source in sources if source is not population]
    label = label_of(parts, key_name)
    if label.kind == "file" and label.source is not None:
        parts = [as_labels(part, label, key_name) for part in parts]
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
    # A column in several files usually names what they have in common; one in a single file names its rows.
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
    """Return whether the values occur again in the month after; those of events do not."""
    months = source.export.months
    if len(months) == 1:
        return True
    first, second = (rows[column] for rows in months[:2])
    kept = pc.sum(pc.is_in(first, value_set=second.combine_chunks())).as_py() or 0
    return bool(kept >= _LEAST_KEPT * len(first))


def _score(source: Source, column: Profile, sources: list[Source], shared: Counter[str]) -> int:
    name = plain(column.source)
    score = 4 * (shared[name] > 1) + 2 * bool(OF_KEYS & set(words(column.source)))
    # A file that refers to another is the finer one: it holds, say, the subscriptions of an account.
    for other in sources:
        for reference in source.columns:
            same = next(
                (each for each in other.names if plain(each) == plain(reference.source)), ""
            )
            is_another = other is not source and plain(same) != name
            if same and is_another and not source.is_unique(reference.source):
                score += 3 * (
                    other.is_unique(same) and refers(source, reference.source, other, same)
                )
    return score


def _rank(source: Source | str) -> int:
    name = source if isinstance(source, str) else source.name
    return next((rank for rank, word in enumerate(PEOPLE) if word in name), len(PEOPLE))


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


def _part(source: Source, population: Source, key: str) -> BusinessPart:
    """Return how a file relates to the customers."""
    own = next((name for name in source.names if key and plain(name) == plain(key)), "")
    if own:
        return BusinessPart(source, "state" if source.is_unique(own) else "events", own)
    for name in source.names:
        leads = next((each for each in population.names if plain(each) == plain(name)), "")
        if not leads or not key or not may_refer(population.column(leads)):
            continue
        if source.is_unique(name) and refers(population, leads, source, name):
            return BusinessPart(source, "joined", name)
        # Not every customer has events, but most events belong to one.
        if not source.is_unique(name) and refers(source, name, population, leads):
            return BusinessPart(source, "joined_events", name)
    return BusinessPart(source, "apart")


def _left_out(parts: list[BusinessPart], label: Label, key: str) -> dict[tuple[str, str], str]:
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
            elif (
                column.kind == "string" and not column.is_category and column.distinct > _MOST_TEXTS
            ):
                reasons[place] = f"{column.distinct:,} different texts: a name, not a category"
            elif label.source is part.source and tells(part.source, column, label):
                reasons[place] = (
                    f"it says the same as {label.column!r}: known only when somebody left"
                )
    return reasons


def _remarks(parts: list[BusinessPart], key: str) -> dict[tuple[str, str], list[str]]:
    """Return remarks on columns that two files share, or that one file holds twice."""
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
    """Return the first of the other columns with the same value in every row; empty where there is none."""
    known = set(rows.column_names)
    same = (n for n in others if {n, name} <= known and rows[n].equals(rows[name]))
    return next(same, "")


def _in_common(part: BusinessPart, population: Source, key: str) -> Iterable[tuple[str, str]]:
    """Yield the columns that the population's file also has, with a text on how often they agree."""
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
