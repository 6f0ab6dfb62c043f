"""The contract in other forms: Markdown tables for people, and an Open Data Contract Standard document."""

from __future__ import annotations

from typing import Any

import yaml

from churn import markdown
from churn.contract.structure import KEY, Column, Contract, Table
from churn.contract.types import COLUMN_TYPES, Kind
from churn.errors import ChurnError

# The marks between which a page shows a table of the contract.
BEGIN, END = "<!-- contract -->", "<!-- /contract -->"
ODCS_VERSION = "v3.1.0"
_ODCS_TYPES: dict[Kind, str] = {
    "string": "string", "date": "date", "int": "integer", "float": "number", "bool": "boolean",
}  # fmt: skip


def files_table(contract: Contract) -> str:
    """Return a Markdown table of a drop's files and their columns."""
    rows = []
    for table in contract.tables:
        needed = ", ".join(c.source_name for c in table.columns if not c.optional)
        optional = ", ".join(c.source_name for c in table.columns if c.optional)
        rows.append([_file(table), f"{needed}{f'; optional {optional}' if optional else ''}"])
    return "\n".join(markdown.table(["file", "columns"], rows))


def with_table(text: str, table: str) -> str:
    """Return a Markdown page in which a table replaces what was between its two marks.

    Raises:
        ChurnError: the page has no such marks.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ChurnError(
            "the page does not say where the table goes", remedy=f"add {BEGIN} and {END}"
        )
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def columns_table(contract: Contract) -> str:
    """Return every column with its type, its bounds and its description, as a Markdown table."""
    head = ["table", "column", "type", "may be", "feature", "description"]
    rows = (
        [
            table.name,
            _named(column),
            _type(column),
            _bounds(column),
            _feature(column),
            column.description,
        ]
        for table in contract.tables
        for column in table.columns
    )
    return "\n".join(markdown.table(head, rows))


def odcs(contract: Contract) -> str:
    """Return the contract as a YAML document of the Open Data Contract Standard.

    What the standard has no word for, such as views and services, goes into its custom properties.
    """
    document: dict[str, Any] = {
        "apiVersion": ODCS_VERSION,
        "kind": "DataContract",
        "id": contract.name,
        "name": contract.name,
        "version": contract.fingerprint[:12],
        "status": "active",
    }
    if contract.description:
        document["description"] = {"purpose": contract.description}
    document["schema"] = [_schema_object(table, contract) for table in contract.tables]
    document["customProperties"] = [
        {"property": "featureServices", "value": [s.versioned_name for s in contract.services]},
        {"property": "labelFrom", "value": contract.label.kind},
        {"property": "firstMonth", "value": str(contract.first_month)},
    ]
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)


def _file(table: Table) -> str:
    if table.select is not None:
        return f"{table.name} (a select)"
    return table.files or table.file


def _named(column: Column) -> str:
    renamed = column.source_name != column.name
    return f"{column.name} (`{column.source_name}`)" if renamed else column.name


def _type(column: Column) -> str:
    text = COLUMN_TYPES[column.kind].text
    return f"{text}, {column.unit}" if column.unit else text


def _bounds(column: Column) -> str:
    words = []
    if column.minimum is not None and column.maximum is not None:
        words.append(f"{column.minimum:,.15g} to {column.maximum:,.15g}")
    elif column.minimum is not None:
        words.append(f"{column.minimum:,.15g} or more")
    elif column.maximum is not None:
        words.append(f"at most {column.maximum:,.15g}")
    if column.expected:
        words.append(", ".join(column.expected))
    words.append("never blank" if column.required else "absent" if column.optional else "")
    return "; ".join(word for word in words if word)


def _feature(column: Column) -> str:
    if column.since is None:
        return ""
    return column.dtype if column.since == 1 else f"{column.dtype}, since v{column.since}"


def _schema_object(table: Table, contract: Contract) -> dict[str, Any]:
    views = [view.name for view in contract.views if view.table.name == table.name]
    content: dict[str, Any] = {
        "name": table.name,
        "physicalName": _file(table),
        "logicalType": "object",
        "physicalType": "file",
    }
    if table.description:
        content["description"] = table.description
    content["properties"] = [_property(column) for column in table.columns]
    if views:
        content["customProperties"] = [{"property": "featureViews", "value": views}]
    return content


def _property(column: Column) -> dict[str, Any]:
    content: dict[str, Any] = {
        "name": column.name,
        "physicalName": column.source_name,
        "logicalType": _ODCS_TYPES[column.kind],
        "physicalType": COLUMN_TYPES[column.kind].sql,
        "required": column.required,
    }
    if column.name == KEY:
        content |= {"primaryKey": True, "primaryKeyPosition": 1, "unique": True}
    if column.description:
        content["description"] = column.description
    bounds = {"minimum": column.minimum, "maximum": column.maximum}
    options = {name: value for name, value in bounds.items() if value is not None}
    if options:
        content["logicalTypeOptions"] = options
    if column.example is not None:
        content["examples"] = [column.example]
    if column.expected:
        content["quality"] = [
            {
                "type": "library",
                "metric": "invalidValues",
                "mustBe": 0,
                "severity": "warning",
                "arguments": {"validValues": list(column.expected)},
            }
        ]
    return content
