"""Drift and performance as people see them: tables in Markdown, and the picture of performance by month."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from churn.monitoring.drift import ColumnDrift
from churn.monitoring.performance import JUDGES
from churn.monitoring.store import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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


_SHOWN = {"auc": "AUC", "log_loss": "log-loss", "churn_rate": "churn rate"}


def performance_png(rows: Sequence[Row]) -> bytes:
    """Draw AUC, log-loss and churn rate, what was estimated beside what came.

    Args:
        rows: as `read_performance` returns them.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.2))
    # Margins of our own: to have them found takes as long as to draw.
    figure.subplots_adjust(left=0.05, right=0.99, top=0.82, bottom=0.22, wspace=0.17)
    for axes, (metric, title) in zip(figure.subplots(1, 3), _SHOWN.items(), strict=True):
        _draw(axes, [r for r in rows if r["metric"] == metric and r["users"] == JUDGES])
        axes.set_title(title)
        axes.tick_params(axis="x", labelrotation=60, labelsize=7)
        axes.legend(fontsize=8, frameon=False)
    figure.suptitle("Hold-out users of each month, scored by the release then in force")
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _draw(axes: "Axes", rows: list[Row]) -> None:
    months = [row["month"] for row in rows]
    low, high = ([row[f"estimated_{side}"] for row in rows] for side in ("low", "high"))
    axes.fill_between(months, low, high, alpha=0.25, label="estimated")
    axes.plot(months, [row["estimated"] for row in rows], linewidth=0.8)
    came = [row for row in rows if row["realised"] is not None]
    if not came:
        return
    values = [row["realised"] for row in came]
    below = [row["realised"] - row["realised_low"] for row in came]
    above = [row["realised_high"] - row["realised"] for row in came]
    axes.errorbar(
        [row["month"] for row in came], values, yerr=[below, above],
        fmt="o", markersize=3, linewidth=1, label="realised",
    )  # fmt: skip
