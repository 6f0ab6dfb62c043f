"""Calibration: two numbers that turn a model's log odds into probabilities that hold (Platt scaling)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from churn.errors import ChurnError

Floats = npt.NDArray[np.float64]

EDGE = 1 / 600  # of a forest's share of votes: half a tree of 300; its log odds stay finite


@dataclass(frozen=True)
class Calibration:
    """P(churn) = sigmoid(slope * log odds + intercept)."""

    slope: float
    intercept: float

    def probabilities(self, log_odds: Floats) -> Floats:
        """Return the calibrated probabilities."""
        return np.asarray(1 / (1 + np.exp(-(self.slope * log_odds + self.intercept))))


def log_odds_of(share: Floats) -> Floats:
    """Return the log odds of a forest's share of votes, kept off 0 and 1."""
    clipped = np.clip(share, EDGE, 1 - EDGE)
    return np.asarray(np.log(clipped / (1 - clipped)))


def fit_calibration(log_odds: Floats, labels: npt.NDArray[np.int64]) -> Calibration:
    """Fit to the log odds of users that the model was not fitted on.

    A model whose log odds run against the labels gets slope 0: everybody's probability is the rate.

    Raises:
        ChurnError: a log odds is not a number, or the labels are of one class.
    """
    from sklearn.linear_model import LogisticRegression

    if not np.isfinite(log_odds).all() or len(set(labels.tolist())) < 2:
        raise ChurnError("log odds that are not numbers, or one class", where="calibration")
    fitted = LogisticRegression(C=np.inf, solver="newton-cholesky").fit(log_odds[:, None], labels)
    slope = float(fitted.coef_[0, 0])
    if slope <= 0:
        rate = float(labels.mean())
        return Calibration(0.0, float(np.log(rate / (1 - rate))))
    return Calibration(slope, float(fitted.intercept_[0]))
