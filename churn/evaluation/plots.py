"""Pictures of a judgement: calibration, gain and profit side by side."""

import io
from typing import TYPE_CHECKING

import numpy as np

from churn.evaluation.inputs import Floats, Labels
from churn.evaluation.metrics import CALIBRATION_BINS
from churn.evaluation.money import Campaign, gain_curve, profit_curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def judgement_png(
    labels: Labels, scores: dict[str, Floats], campaign: Campaign, title: str
) -> bytes:
    """Draw calibration, gain and profit curves of one or more models on the same users.

    Args:
        labels: 1 for those who left.
        scores: probabilities of leaving by the model's name.
        campaign: the terms that profit is counted in.
        title: over the picture.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.4), layout="constrained")
    calibration, gain, profit = figure.subplots(1, 3)
    for name, probabilities in scores.items():
        _calibration(calibration, labels, probabilities, name)
        reached = gain_curve(labels, probabilities)
        gain.plot(reached.share, reached.value, label=name)
        earned = profit_curve(labels, probabilities, campaign)
        profit.plot(earned.share, earned.value, label=name)
    for axes in (calibration, gain):
        axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":")
    profit.axhline(0, color="grey", linewidth=0.8, linestyle=":")
    _words(calibration, "said", "seen", "Calibration")
    _words(gain, "share contacted", "leavers reached", "Gain")
    _words(profit, "share contacted", "profit per user", "Profit")
    figure.suptitle(title)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _calibration(axes: "Axes", labels: Labels, probabilities: Floats, name: str) -> None:
    parts = np.array_split(np.argsort(probabilities, kind="stable"), CALIBRATION_BINS)
    said = [probabilities[part].mean() for part in parts if part.size]
    seen = [labels[part].mean() for part in parts if part.size]
    axes.plot(said, seen, marker="o", markersize=3, label=name)


def _words(axes: "Axes", x: str, y: str, title: str) -> None:
    axes.set(xlabel=x, ylabel=y, title=title)
    axes.legend(fontsize=8, frameon=False)
