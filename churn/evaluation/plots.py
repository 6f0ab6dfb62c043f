"""A picture of figures month by month, with their intervals."""

import io
from collections.abc import Mapping, Sequence

import numpy as np

from churn.evaluation.bootstrap import Interval

Series = Mapping[str, Sequence[Interval | None]]  # by name; None where a month has no figure


def by_month_png(months: Sequence[str], panels: Mapping[str, Series], title: str) -> bytes:
    """Draw one panel per figure, one line per series; a hole stays a hole.

    Args:
        months: what the months are called, oldest first.
        panels: series by the figure's name; each as long as `months`.
        title: over the picture.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5 * len(panels), 3.6), layout="constrained")
    places = np.arange(len(months))
    for axes, (name, series) in zip(
        np.atleast_1d(figure.subplots(1, len(panels))), panels.items(), strict=True
    ):
        for label, intervals in series.items():
            found = [each or Interval(np.nan, np.nan, np.nan) for each in intervals]
            estimates, low, high = np.array(found, dtype=np.float64).reshape(-1, 3).T
            axes.fill_between(places, low, high, alpha=0.15)
            axes.plot(places, estimates, marker="o", markersize=3, label=label)
        axes.set_title(name)
        axes.set_xticks(places, months, rotation=60, fontsize=7)
        axes.grid(axis="y", linewidth=0.4)
    axes.legend(fontsize=8, frameon=False)
    figure.suptitle(title)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
