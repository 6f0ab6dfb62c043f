"""The picture of performance: estimated and realised figures of the hold-out users, month by month."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from churn.monitoring.performance import JUDGES
from churn.monitoring.store import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
