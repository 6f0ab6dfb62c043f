"""A model's figures on the hold-out, as one picture."""

import io
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from churn.model.fitted import Fitted

_BLUE, _GREY = "#1f5fa8", "#9a9a9a"
_BINS = 10
# Ticks take most of the time that a picture takes, so there are few, and they are placed by hand.
_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


def model_report_png(fitted: "Fitted", title: str) -> bytes:
    """Draw ROC, precision-recall, calibration, confusion, importances; equal models give equal bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 7.2), dpi=80)
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=13)
    grid = figure.add_gridspec(
        2, 4, width_ratios=(1, 1, 0.32, 1), left=0.05, right=0.98, top=0.89, bottom=0.08,
        hspace=0.36, wspace=0.34,
    )  # fmt: skip
    _roc(figure.add_subplot(grid[0, 0]), fitted)
    _precision_recall(figure.add_subplot(grid[0, 1]), fitted)
    _calibration(figure.add_subplot(grid[1, 0]), fitted)
    _confusion(figure.add_subplot(grid[1, 1]), fitted)
    _importances(figure.add_subplot(grid[:, 3]), fitted)
    png = io.BytesIO()
    figure.savefig(png, format="png", metadata={"Software": None})
    return png.getvalue()


def _named(axes: "Axes", title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x, fontsize=8)
    axes.set_ylabel(y, fontsize=8)
    axes.tick_params(labelsize=8)


def _square(axes: "Axes", title: str, x: str, y: str) -> None:
    """Label axes on which both directions are shares."""
    axes.set_xticks(_SHARES)
    axes.set_yticks(_SHARES)
    _named(axes, title, x, y)


def _roc(axes: "Axes", fitted: "Fitted") -> None:
    from sklearn.metrics import roc_curve

    false_rate, true_rate, _ = roc_curve(fitted.labels, fitted.probabilities)
    axes.plot([0, 1], [0, 1], color=_GREY, linewidth=0.8, linestyle="--")
    axes.plot(false_rate, true_rate, color=_BLUE)
    auc = fitted.metrics["auc"]
    _square(axes, f"ROC, AUC {auc:.4f}", "false positive rate", "true positive rate")


def _precision_recall(axes: "Axes", fitted: "Fitted") -> None:
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = precision_recall_curve(fitted.labels, fitted.probabilities)
    axes.axhline(fitted.metrics["holdout_churn_rate"], color=_GREY, linewidth=0.8, linestyle="--")
    axes.plot(recall, precision, color=_BLUE)
    average = fitted.metrics["average_precision"]
    _square(axes, f"Precision-recall, average {average:.4f}", "recall", "precision")


def _calibration(axes: "Axes", fitted: "Fitted") -> None:
    from sklearn.calibration import calibration_curve

    left, predicted = calibration_curve(fitted.labels, fitted.probabilities, n_bins=_BINS)
    axes.plot([0, 1], [0, 1], color=_GREY, linewidth=0.8, linestyle="--")
    axes.plot(predicted, left, color=_BLUE, marker="o", markersize=4)
    brier = fitted.metrics["brier"]
    _square(axes, f"Calibration, Brier {brier:.4f}", "predicted probability", "share that left")


def _confusion(axes: "Axes", fitted: "Fitted") -> None:
    names = ("true_negatives", "false_positives", "false_negatives", "true_positives")
    counts = np.array([fitted.metrics[name] for name in names]).reshape(2, 2)
    axes.imshow(counts, cmap="Blues", vmin=0, aspect="auto")
    for (row, column), count in np.ndenumerate(counts):
        color = "white" if count > counts.max() / 2 else "black"
        axes.text(column, row, f"{count:.0f}", ha="center", va="center", color=color)
    axes.set_xticks([0, 1], ["stays", "leaves"])
    axes.set_yticks([0, 1], ["stayed", "left"])
    _named(
        axes, f"At {fitted.threshold:.3g}, F1 {fitted.metrics['f1']:.4f}", "predicted", "happened"
    )


def _importances(axes: "Axes", fitted: "Fitted") -> None:
    shares = fitted.importances
    axes.barh(list(shares), list(shares.values()), color=_BLUE)
    axes.invert_yaxis()
    _named(axes, "Importance", "share", "")
