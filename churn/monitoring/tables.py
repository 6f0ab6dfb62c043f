"""Drift and performance as Markdown, for the UI and the monthly report."""

from collections.abc import Sequence

from churn.monitoring.drift import ColumnDrift
from churn.monitoring.store import Row

NOTHING = "nothing yet: there was no release"


def drift_table(columns: Sequence[ColumnDrift]) -> str:
    """Return one line per column, the farthest over its threshold first."""
    if not columns:
        return NOTHING
    lines = ["| column | distance | threshold | drifted |", "|---|---|---|---|"]
    for column in sorted(columns, key=lambda each: each.threshold - each.distance):
        drifted = "**yes**" if column.is_drifted else ""
        name = column.feature
        threshold = f"{column.threshold:.4f}{' provisional' if column.is_provisional else ''}"
        lines.append(f"| {name} | {column.distance:.4f} | {threshold} | {drifted} |")
    return "\n".join(lines)


def performance_table(rows: Sequence[Row], metric: str | None = None) -> str:
    """Return estimated beside realised figures and the estimate's error, one line each.

    Args:
        rows: as `read_performance` returns them.
        metric: only this one.
    """
    chosen = [row for row in rows if metric in (None, row["metric"])]
    if not chosen:
        return NOTHING
    head = "| month | users | figure | rows | release | estimated | realised | error | alarm |"
    return "\n".join([head, "|---" * 9 + "|", *map(_line, chosen)])


def _line(row: Row) -> str:
    estimated, realised = (_interval(row, name) for name in ("estimated", "realised"))
    error = "" if row["error"] is None else f"{row['error']:+.4f}"
    return (
        f"| {row['month']} | {row['users']} | {row['metric']} | {row['rows']:,}"
        f" | `{row['release_id'][:12]}` | {estimated} | {realised} | {error} | {row['alarm']} |"
    )


def _interval(row: Row, name: str) -> str:
    if row[name] is None:
        return "not yet"
    return f"{row[name]:.4f} [{row[f'{name}_low']:.4f}, {row[f'{name}_high']:.4f}]"
