"""The metrics of one model on one set of users, and the input from which no figure is computed.

How sure such a figure is: `bootstrap.py`. What it is worth in money: `money.py`.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from churn.arrays import Floats, Labels
from churn.errors import ChurnError


def require_judgeable(labels: npt.ArrayLike, *scores: npt.ArrayLike) -> None:
    """Raise a ChurnError unless `labels` hold both classes, and all of `scores` are finite and as long."""
    known = np.asarray(labels)
    if known.size == 0:
        raise ChurnError("there are no users to judge on", where="evaluation")
    left = int((known == 1).sum())
    stayed = int((known == 0).sum())
    if left + stayed != known.size:
        raise ChurnError(
            f"{known.size - left - stayed} labels are neither 0 nor 1", where="evaluation"
        )
    if not left or not stayed:
        raise ChurnError(
            f"{left} users who left, {stayed} who stayed: both are needed",
            where="evaluation",
            remedy="take more users, or another month",
        )
    for each in scores:
        values = np.asarray(each, dtype=np.float64)
        if values.shape != known.shape:
            raise ChurnError(
                f"{values.size} probabilities for {known.size} labels", where="evaluation"
            )
        if not np.isfinite(values).all():
            raise ChurnError(
                f"{int((~np.isfinite(values)).sum())} probabilities are not numbers",
                where="evaluation",
            )


CALIBRATION_BINS = 10
CONFUSION = ("true_negatives", "false_positives", "false_negatives", "true_positives")
LIFT_SHARES = {"lift_05": 0.05, "lift_10": 0.10, "lift_20": 0.20}


def evaluate(labels: Labels, probabilities: Floats, threshold: float) -> dict[str, float]:
    """Return the metrics of one model on one set of users, by the names that MLflow shows.

    Args:
        labels: 1 for those who left, [N].
        probabilities: the model's, of leaving, [N].
        threshold: the probability from which on the model predicts 1.

    Raises:
        ChurnError: there are no users, they are of one class, or a probability is NaN.
    """
    from sklearn import metrics

    require_judgeable(labels, probabilities)
    predicted = (probabilities >= threshold).astype(np.int64)
    confusion: Any = metrics.confusion_matrix(labels, predicted, labels=[0, 1])
    return {
        "auc": float(metrics.roc_auc_score(labels, probabilities)),
        "f1": float(metrics.f1_score(labels, predicted, zero_division=0)),
        "accuracy": float(metrics.accuracy_score(labels, predicted)),
        "average_precision": float(metrics.average_precision_score(labels, probabilities)),
        "brier": float(metrics.brier_score_loss(labels, probabilities)),
        "log_loss": float(metrics.log_loss(labels, probabilities, labels=[0, 1])),
        "calibration_error": calibration_error(labels, probabilities),
        **{name: lift(labels, probabilities, share) for name, share in LIFT_SHARES.items()},
        "holdout_churn_rate": float(labels.mean()),
        **dict(zip(CONFUSION, map(float, confusion.ravel()), strict=True)),
    }


def calibration_error(labels: Labels, probabilities: Floats, bins: int = CALIBRATION_BINS) -> float:
    """Return the mean distance between predicted and actual churn rate, over bins of equally many users."""
    order = np.argsort(probabilities, kind="stable")
    parts = [part for part in np.array_split(order, bins) if part.size]
    off = [abs(float(probabilities[p].mean() - labels[p].mean())) * p.size for p in parts]
    return sum(off) / len(order)


def calibration_bound(users: int, bins: int = CALIBRATION_BINS) -> float:
    """Return the calibration error that perfect probabilities exceed about once in a thousand times.

    The observed rate of a bin of n users has a standard deviation of at most sqrt(1/4n). The mean distance
    over the bins is close to normal: its mean is 0.8 of that, its standard deviation 0.6/sqrt(bins) of it.
    """
    deviation = float(np.sqrt(bins / users) / 2)
    return deviation * (0.8 + 3.1 * 0.6 / float(np.sqrt(bins)))


def lift(labels: Labels, probabilities: Floats, share: float) -> float:
    """Return the churn rate of the highest-scored `share` of users, as a multiple of the overall rate.

    Users of equal probability are interchangeable: where the cut falls among them, each counts in part.
    """
    taken = share * len(labels)
    order = np.argsort(-probabilities, kind="stable")
    sorted_labels, sorted_scores = labels[order], probabilities[order]
    cut = sorted_scores[min(int(np.ceil(taken)), len(order)) - 1]
    above, at = sorted_scores > cut, sorted_scores == cut
    caught = sorted_labels[above].sum() + sorted_labels[at].mean() * (taken - above.sum())
    return float(caught / taken / labels.mean())
