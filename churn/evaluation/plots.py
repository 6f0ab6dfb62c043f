"""A picture of figures month by month, with their intervals."""

import io
from collections.abc import Mapping, Sequence

import numpy as np

from churn.evaluation.bootstrap import Interval

# By name, one interval a month; None where a month has no figure.
Series = Mapping[str, Sequence[Interval | None]]


def by_month_png(months: Sequence[str], panels: Mapping[str, Series], title: str) -> bytes:
    """Draw one panel per figure with one line per series, and return the PNG; gaps stay gaps.

    Args:
        months: names of the months, oldest first.
        panels: the series by the figure's name; each is as long as `months`.
        title: of the picture.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5 * len(panels), 3.6), layout="constrained")
    places = np.arange(len(months))
    for axes, (name, series) in zip(
        np.atleast_1d(figure.subplots(1, len(panels))), panels.items(), strict=True
    ):
        for label, intervals in series.items():
            drawn = [each or Interval(np.nan, np.nan, np.nan) for each in intervals]
            estimates, low, high = np.array(drawn, dtype=np.float64).reshape(-1, 3).T
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
