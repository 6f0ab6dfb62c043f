"""Entries of a contract as YAML, on one line each: of a dialect, of a column, of a select."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import yaml

from churn.contract.draft.columns import Profile, unit
from churn.contract.draft.sources import Source
from churn.contract.structure import CANONICAL

_LARGEST_INT = 2**31 - 1  # without a max of its own, a whole number is bounded by it

_CANONICAL: dict[str, Any] = {
    "format": CANONICAL.format,
    "delimiter": CANONICAL.delimiter,
    "encoding": CANONICAL.encoding,
    "decimal": CANONICAL.decimal,
    "thousands": CANONICAL.thousands,
    "true": [*CANONICAL.true_words],
    "false": [*CANONICAL.false_words],
    "null": [*CANONICAL.null_words],
    "dates": [*CANONICAL.date_formats],
}


DIALECT_KEYS = tuple(_CANONICAL)


def dialect(source: Source) -> dict[str, Any]:
    """Return how a file writes its values; None for what none of its columns tells."""
    export, columns = source.export, source.columns
    has_numbers = any(column.kind == "float" for column in columns)

    def union(texts: Iterable[tuple[str, ...]]) -> list[str] | None:
        return list(dict.fromkeys(text for each in texts for text in each)) or None

    return {
        "format": export.format,
        "delimiter": export.delimiter,
        "encoding": export.encoding,
        "decimal": source.marks.decimal if has_numbers else None,
        "thousands": source.marks.thousands if has_numbers or source.marks.thousands else None,
        "true": union(column.true for column in columns),
        "false": union(column.false for column in columns),
        "null": ["", *(union(column.nulls for column in columns) or [])],
        "dates": union(sorted((column.formats for column in columns), key=len)),
    }


def uncommon(dialect: dict[str, Any]) -> dict[str, Any]:
    """Return what of a dialect is otherwise than in a canonical file."""
    return {k: v for k, v in dialect.items() if v is not None and v != _CANONICAL[k]}


def entry_of(column: Profile, name: str, is_file: bool) -> dict[str, Any]:
    """Return what the contract says of a column."""
    kind: str = column.kind
    entry: dict[str, Any] = {"type": kind}
    if is_file and column.source != name:
        entry["source"] = column.source
    if kind in ("int", "float") and (column.minimum or 0) < 0:
        entry["min"] = None
    if kind == "int" and (column.maximum or 0) > _LARGEST_INT:
        entry["max"] = 2**53
    if kind == "float" and column.needs_exact:
        entry["exact"] = True
    if column.is_category:
        entry["expected"] = sorted(column.values)
    if unit(name):
        entry["unit"] = unit(name)
    example = _example(column)
    if example is not None:
        entry["example"] = example
    return entry


def _example(column: Profile) -> Any:
    if not column.values:
        return None
    text = column.values[0].strip()
    if column.kind == "bool":
        return text in column.true
    if column.kind in ("int", "float"):
        number = column.typical or 0.0
        return int(number) if column.kind == "int" else number
    return text if column.kind == "string" else None


def block(key: str, text: str) -> list[str]:
    """Return a text of several lines, as a key of a table has it."""
    return [f"    {key}: |", *(f"      {line}" for line in text.splitlines())]


def scalar(value: Any) -> str:
    """Return a value as YAML, as plain as it may be written."""
    if isinstance(value, str):
        plain_text = re.fullmatch(r"[A-Za-z][A-Za-z0-9 _./()+€-]*(?<! )", value)
        if plain_text and yaml.safe_load(f"[{value}]") == [value]:
            return value
        return json.dumps(value, ensure_ascii=not value.isprintable())
    return json.dumps(value)


def flow(entry: dict[str, Any]) -> str:
    """Return a mapping on one line."""
    texts = []
    for key, value in entry.items():
        shown = f"[{', '.join(map(scalar, value))}]" if isinstance(value, list) else scalar(value)
        texts.append(f"{key}: {shown}")
    return f"{{{', '.join(texts)}}}"
