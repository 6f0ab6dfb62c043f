"""Metadata that a person wants to see in the Dagster UI: column schemas, previews, counts."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
import pyarrow as pa

from churn.contract.features import View
from churn.contract.tables import Table
from churn.markdown import plain

_KEYS = (
    dg.TableColumn("user_id", "string", constraints=dg.TableColumnConstraints(nullable=False)),
    dg.TableColumn("as_of", "timestamp (UTC)"),
    dg.TableColumn("known_at", "timestamp (UTC)"),
    dg.TableColumn("is_withdrawn", "bool"),
)


def table_schema(table: Table, *, versioned: bool = False) -> Mapping[str, Any]:
    """Return the column schema of a raw table, or of its snapshot (`versioned`)."""
    own = [
        dg.TableColumn(
            c.name, c.kind, constraints=dg.TableColumnConstraints(nullable=not c.required)
        )
        for c in (table.values if versioned else table.columns)
    ]
    columns = [*_KEYS, *own] if versioned else own
    return {"dagster/column_schema": dg.TableSchema(columns=columns)}


def view_schema(view: View) -> Mapping[str, Any]:
    """Return the column schema of a feature view, with its descriptions."""
    own = [dg.TableColumn(f.name, f.dtype, description=f.description) for f in view.features]
    return {"dagster/column_schema": dg.TableSchema(columns=[*_KEYS, *own])}


def arrow_schema(schema: pa.Schema) -> Mapping[str, Any]:
    """Return the column schema of an Arrow table."""
    columns = [dg.TableColumn(field.name, str(field.type)) for field in schema]
    return {"dagster/column_schema": dg.TableSchema(columns=columns)}


def preview(rows: pa.Table, count: int = 5) -> dg.MetadataValue:
    """Return the first rows as a Markdown table."""
    head = rows.slice(0, count).to_pylist()
    lines = ["| " + " | ".join(rows.column_names) + " |", "|---" * rows.num_columns + "|"]
    lines += [
        "| " + " | ".join("" if v is None else plain(v) for v in row.values()) + " |"
        for row in head
    ]
    return dg.MetadataValue.md("\n".join(lines))


def null_counts(rows: pa.Table) -> dict[str, int]:
    """Return how many values are unknown, of the columns that have any."""
    counts = {name: rows[name].null_count for name in rows.column_names}
    return {name: count for name, count in counts.items() if count}
