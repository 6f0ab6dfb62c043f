"""A translation: those parts of the contract that decide how delivered files become a table's rows.

It is kept with each delivery, which is always read by it again. Names, kinds, dialects and selects belong to
it; descriptions, bounds and features do not, since they do not decide which value is in which cell.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from typing import Any

from churn.contract.structure import CANONICAL, Contract, Dialect, Table


def dialects_of(contract: Contract) -> dict[str, Dialect]:
    """Return the dialect of each file of a drop, by the names under which selects read them."""
    return {file.name: file.dialect for file in contract.source_files} | {
        table.name: table.dialect for table in contract.tables if table.select is None
    }


def translation(contract: Contract, table: Table, files: Iterable[str] | None = None) -> str:
    """Return, as canonical JSON, what decides how files are read as a table.

    Args:
        contract: the contract.
        table: one of its tables.
        files: the names of the files that the table's select reads; by default, all that it could read.
    """
    content: dict[str, Any] = {
        "columns": [
            [column.name, column.kind, column.source_name, *column.earlier_sources]
            for column in table.columns
        ],
        "dialect": _entry(table.dialect),
    }
    if table.select is not None:
        dialects = dialects_of(contract)
        content["select"] = table.select
        content["files"] = {
            name: _entry(dialects[name]) for name in (dialects if files is None else files)
        }
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def translated_by(text: str, table: Table) -> tuple[Table, dict[str, Dialect]]:
    """Return a table as it was when `text` was kept, and the dialects of its files.

    Columns that the contract has gained since are left out.
    """
    content = json.loads(text)
    by_name = {column.name: column for column in table.columns}
    columns = tuple(
        dataclasses.replace(by_name[name], kind=kind, source=source, earlier_sources=tuple(earlier))
        for name, kind, source, *earlier in content["columns"]
        if name in by_name
    )
    dialect = _dialect(content["dialect"])
    files = {name: _dialect(entry) for name, entry in content.get("files", {}).items()}
    of_then = dataclasses.replace(
        table, columns=columns, dialect=dialect, select=content.get("select")
    )
    return of_then, files or {table.name: dialect}


def _entry(dialect: Dialect) -> dict[str, Any]:
    """Return what differs from the canonical dialect."""
    pairs = ((field.name, getattr(dialect, field.name)) for field in dataclasses.fields(dialect))
    return {name: value for name, value in pairs if value != getattr(CANONICAL, name)}


def _dialect(entry: dict[str, Any]) -> Dialect:
    lists = {name: tuple(value) for name, value in entry.items() if isinstance(value, list)}
    return dataclasses.replace(CANONICAL, **(entry | lists))
