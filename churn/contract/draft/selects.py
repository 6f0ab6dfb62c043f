"""Templates of `select:`: how rows of other files become one row per customer, in DuckDB's SQL."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass

import duckdb

from churn.contract.draft.columns import Marks, Profile, words
from churn.contract.draft.sources import OF_KEYS, Business, BusinessPart, Source
from churn.contract.structure import KEY, plain
from churn.contract.types import Kind

# Words for figures that are averaged rather than summed.
_OF_MEANS = frozenset(
    {"score", "rate", "rating", "avg", "average", "mean", "ratio", "share", "pct", "percent", "price", "age",
     "hours", "satisfaction", "response", "resolution", "latency", "temperature"}
)  # fmt: skip
# Where the distinct texts are fewer than this share of the rows, they are kinds of events.
_REPEATED = 0.1


@dataclass(frozen=True)
class Selected:
    """A column that a select returns: its expression, type and description."""

    name: str
    expression: str
    kind: Kind
    description: str


@functools.cache
def reserved_words() -> frozenset[str]:
    """Return the words that SQL does not accept as names."""
    with duckdb.connect(":memory:", config={"enable_external_access": "false"}) as connection:
        rows = connection.execute(
            "SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category <> 'unreserved'"
        ).fetchall()
    return frozenset(row[0] for row in rows)


def quoted(name: str) -> str:
    """Return a name as SQL accepts it, in quotes where it needs them."""
    if re.fullmatch(r"[a-z_][a-z0-9_]*", name) and name not in reserved_words():
        return name
    return '"' + name.replace('"', '""') + '"'


def text_literal(text: str) -> str:
    """Return a text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def numbered(source: Source, columns: list[tuple[str, str]]) -> str:
    """Return the select for a file without a key, which numbers its rows."""
    lines = [f"CAST(row_number() OVER () AS VARCHAR) AS {KEY}", *_named("", columns)]
    return _select(lines, f"FROM {quoted(source.name)}")


def keyed(source: Source, key: str, columns: list[tuple[str, str]]) -> str:
    """Return the select that takes some columns of a file with the key."""
    return _select(_named("", [(key, KEY), *columns]), f"FROM {quoted(source.name)}")


def months_since(population: Source, key: str, begin: str, name: str) -> str:
    """Return the select for how long each customer has been there."""
    since = day(quoted(begin), population.column(begin))
    months = f"date_diff('month', {since}, as_of()) AS {name}"
    return _select([*_named("", [(key, KEY)]), months], f"FROM {quoted(population.name)}")


def joined(business: Business, part: BusinessPart, columns: list[tuple[str, str]]) -> str:
    """Return the select that joins a file about something else, such as accounts, to each customer."""
    lines = [f"p.{quoted(business.key)} AS {KEY}", *_named("f.", columns)]
    return _select(lines, _from(business, part))


def counted(business: Business, part: BusinessPart, selected: list[Selected]) -> str:
    """Return the select that aggregates events into one row per customer, also for those without events."""
    lines = [f"p.{quoted(business.key)} AS {KEY}"]
    lines += [f"{each.expression} AS {each.name}" for each in selected]
    return _select(lines, f"{_from(business, part)}\nGROUP BY p.{quoted(business.key)}")


def aggregates(part: BusinessPart) -> Iterator[Selected]:
    """Yield aggregates of a month's events: how many, how much, how recent."""
    source = part.source
    noun = source.name.removesuffix("s").replace("_", " ")
    yield Selected(
        f"{source.name}_rows",
        f"count(f.{quoted(part.via)})",
        "int",
        f"rows of {source.export.files}",
    )
    is_dated = False
    for column in source.columns:
        name = "_".join(words(column.source)) or "value"
        place = f"f.{quoted(column.source)}"
        if (
            plain(column.source) == plain(part.via)
            or column.is_constant
            or _is_number(source, column)
        ):
            continue
        if column.kind in ("int", "float"):
            yield _amount(name, place, column, source.marks)
        elif column.kind == "bool":
            these = ", ".join(map(text_literal, column.true))
            expression = f"count(*) FILTER (WHERE trim({place}) IN ({these}))"
            yield Selected(f"{name}_count", expression, "int", f"rows with {column.source}")
        elif column.kind == "date" and not is_dated:
            is_dated = True
            expression = f"date_diff('day', max({day(place, column)}), as_of())"
            text = f"days from the last {noun} to the end of the month"
            yield Selected(f"days_since_{name}", expression, "int", text)
        elif column.kind == "string" and column.distinct < column.rows * _REPEATED:
            expression = f"count(DISTINCT {place})"
            yield Selected(
                f"{name}_distinct", expression, "int", f"different values of {column.source}"
            )


def _is_number(source: Source, column: Profile) -> bool:
    """Return whether a column merely numbers the events."""
    is_named = column is source.columns[0] or bool(OF_KEYS & set(words(column.source)))
    return column.kind == "int" and is_named and source.is_unique(column.source)


def day(place: str, column: Profile) -> str:
    """Return the expression that reads a date from text."""
    if column.formats in (("%Y-%m-%d",), ()):
        return f"CAST({place} AS DATE)"
    formats = ", ".join(map(text_literal, column.formats))
    return f"CAST(strptime({place}, [{formats}]) AS DATE)"


def _amount(name: str, place: str, column: Profile, marks: Marks) -> Selected:
    text = place
    if marks.thousands:
        text = f"replace({text}, {text_literal(marks.thousands)}, '')"
    if marks.decimal != ".":
        text = f"replace({text}, {text_literal(marks.decimal)}, '.')"
    if _OF_MEANS & set(words(column.source)):
        return Selected(
            f"{name}_avg", f"avg(CAST({text} AS DOUBLE))", "float", f"mean of {column.source}"
        )
    kind: Kind = "int" if column.kind == "int" else "float"
    type_ = "BIGINT" if kind == "int" else "DOUBLE"
    expression = f"CAST(coalesce(sum(CAST({text} AS {type_})), 0) AS {type_})"
    return Selected(f"{name}_sum", expression, kind, f"sum of {column.source}")


def _from(business: Business, part: BusinessPart) -> str:
    population = business.population
    via = next(name for name in population.names if plain(name) == plain(part.via))
    return (
        f"FROM {quoted(population.name)} AS p\n"
        f"LEFT JOIN {quoted(part.source.name)} AS f ON f.{quoted(part.via)} = p.{quoted(via)}"
    )


def _named(prefix: str, columns: list[tuple[str, str]]) -> list[str]:
    """Return the columns of a select: those of the file, under the contract's names."""
    texts = []
    for source, name in columns:
        place = f"{prefix}{quoted(source)}"
        texts.append(place if source == name else f"{place} AS {name}")
    return texts


def _select(columns: list[str], rest: str) -> str:
    listed = ",\n       ".join(columns)
    return f"SELECT {listed}\n{rest}"
