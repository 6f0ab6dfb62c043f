"""What a set of users says of a model, as numbers; and what every figure refuses to be made of.

How sure such a figure is: `bootstrap.py`. What it is worth in money: `money.py`.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from churn.arrays import Floats, Labels
from churn.errors import ChurnError


def require_judgeable(labels: npt.ArrayLike, *scores: npt.ArrayLike) -> None:
    """Raise a ChurnError unless `labels` hold both classes and each of `scores` is finite and as long."""
    said = np.asarray(labels)
    if said.size == 0:
        raise ChurnError("there are no users to judge on", where="evaluation")
    left = int((said == 1).sum())
    stayed = int((said == 0).sum())
    if left + stayed != said.size:
        raise ChurnError(
            f"{said.size - left - stayed} labels are neither 0 nor 1", where="evaluation"
        )
    if not left or not stayed:
        raise ChurnError(
            f"{left} users who left, {stayed} who stayed: both are needed",
            where="evaluation",
            remedy="take more users, or another month",
        )
    for each in scores:
        values = np.asarray(each, dtype=np.float64)
        if values.shape != said.shape:
            raise ChurnError(
                f"{values.size} probabilities for {said.size} labels", where="evaluation"
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
        labels: 1 for those who left.
        probabilities: the model's, of leaving.
        threshold: from which probability on the model says 1.

    Raises:
        ChurnError: there are no users, they are of one class, or a probability is NaN.
    """
    from sklearn import metrics

    require_judgeable(labels, probabilities)
    said = (probabilities >= threshold).astype(np.int64)
    confusion: Any = metrics.confusion_matrix(labels, said, labels=[0, 1])
    return {
        "auc": float(metrics.roc_auc_score(labels, probabilities)),
        "f1": float(metrics.f1_score(labels, said, zero_division=0)),
        "accuracy": float(metrics.accuracy_score(labels, said)),
        "average_precision": float(metrics.average_precision_score(labels, probabilities)),
        "brier": float(metrics.brier_score_loss(labels, probabilities)),
        "log_loss": float(metrics.log_loss(labels, probabilities, labels=[0, 1])),
        "calibration_error": calibration_error(labels, probabilities),
        **{name: lift(labels, probabilities, share) for name, share in LIFT_SHARES.items()},
        "holdout_churn_rate": float(labels.mean()),
        **dict(zip(CONFUSION, map(float, confusion.ravel()), strict=True)),
    }


def calibration_error(labels: Labels, probabilities: Floats, bins: int = CALIBRATION_BINS) -> float:
    """Return the mean distance between said and seen churn rate, over bins of equally many users."""
    order = np.argsort(probabilities, kind="stable")
    parts = [part for part in np.array_split(order, bins) if part.size]
    off = [abs(float(probabilities[p].mean() - labels[p].mean())) * p.size for p in parts]
    return sum(off) / len(order)


def calibration_bound(users: int, bins: int = CALIBRATION_BINS) -> float:
    """Return the calibration error that perfect probabilities exceed about once in a thousand times.

    The rate seen in a bin of n users is off by at most sqrt(1/4n) (one standard deviation); the mean
    distance over the bins is close to normal, with mean .8 and deviation .6/sqrt(bins) of that.
    """
    deviation = float(np.sqrt(bins / users) / 2)
    return deviation * (0.8 + 3.1 * 0.6 / float(np.sqrt(bins)))


def lift(labels: Labels, probabilities: Floats, share: float) -> float:
    """Return how often those of the highest `share` leave, as a multiple of everybody's rate.

    Users of one probability are interchangeable: where the cut falls among them, they count by share.
    """
    taken = share * len(labels)
    order = np.argsort(-probabilities, kind="stable")
    sorted_labels, sorted_scores = labels[order], probabilities[order]
    cut = sorted_scores[min(int(np.ceil(taken)), len(order)) - 1]
    above, at = sorted_scores > cut, sorted_scores == cut
    caught = sorted_labels[above].sum() + sorted_labels[at].mean() * (taken - above.sum())
    return float(caught / taken / labels.mean())
