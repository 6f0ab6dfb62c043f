"""Drift and performance as people see them: Markdown tables, and the picture of performance by month."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from churn.markdown import table
from churn.monitoring.drift import ColumnDrift
from churn.monitoring.performance import JUDGES
from churn.monitoring.store import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes


NOTHING = "nothing yet: there was no release"


def drift_table(columns: Sequence[ColumnDrift]) -> str:
    """Return one row per column, the column farthest over its threshold first."""
    if not columns:
        return NOTHING
    rows = [
        (
            column.feature,
            f"{column.distance:.4f}",
            f"{column.threshold:.4f}{' provisional' if column.is_provisional else ''}",
            "**yes**" if column.is_drifted else "",
        )
        for column in sorted(columns, key=lambda each: each.threshold - each.distance)
    ]
    return "\n".join(table(("column", "distance", "threshold", "drifted"), rows))


def performance_table(rows: Sequence[Row], metric: str | None = None) -> str:
    """Return one row per figure: the estimate beside what was realised, and the estimate's error.

    Args:
        rows: as `read_performance` returns them.
        metric: only this one; None takes all.
    """
    chosen = [row for row in rows if metric in (None, row["metric"])]
    if not chosen:
        return NOTHING
    return "\n".join(table(_PERFORMANCE_HEAD, map(_performance_row, chosen)))


_PERFORMANCE_HEAD = (
    "month", "users", "figure", "rows", "release", "estimated", "realised", "error", "alarm",
)  # fmt: skip


def _performance_row(row: Row) -> tuple[str, ...]:
    return (
        row["month"],
        row["users"],
        row["metric"],
        f"{row['rows']:,}",
        f"`{row['release_id'][:12]}`",
        _interval(row, "estimated"),
        _interval(row, "realised"),
        "" if row["error"] is None else f"{row['error']:+.4f}",
        row["alarm"],
    )


def _interval(row: Row, name: str) -> str:
    if row[name] is None:
        return "not yet"
    return f"{row[name]:.4f} [{row[f'{name}_low']:.4f}, {row[f'{name}_high']:.4f}]"


_SHOWN = {"auc": "AUC", "log_loss": "log-loss", "churn_rate": "churn rate"}


def performance_png(rows: Sequence[Row]) -> bytes:
    """Draw AUC, log-loss and churn rate by month, the estimate beside what was realised.

    Args:
        rows: as `read_performance` returns them.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.2))
    # The margins are fixed, since computing them takes as long as drawing.
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
