"""How far calibrated probabilities hold beyond the month that they were calibrated on, and how sure that is.

A calibration is two numbers fitted to the training users of one month: a sample, and of a population that
moves on. Both errors stay with a release for as long as it serves, so that every month strays to the same
side. What is believed of them before anything is seen is a prior around "they hold"; each month whose labels
have matured since says more (a Bayesian logistic regression of two parameters, at its mode).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from churn.evaluation.inputs import Floats, Labels

# By how much slope and intercept move with the population, as standard deviations: chosen from a few
# releases of the public population. `python -m churn.monitoring.estimate_errors` shows how often the bounds
# hold with them.
MOVED_SLOPE, MOVED_INTERCEPT = 0.05, 0.10
_EDGE = 1e-6  # of a probability: one user whose score is 0 says no more than that
_STEPS = 50


@dataclass(frozen=True)
class Recalibration:
    """P(churn) = sigmoid(slope * log odds + intercept) of the served log odds; both are uncertain."""

    slope: float
    intercept: float
    covariance: npt.NDArray[np.floating[Any]]  # [2, 2], of slope and intercept

    def probabilities(self, served: Floats) -> Floats:
        """Return what is to be expected of users who were served these probabilities."""
        if (self.slope, self.intercept) == (1.0, 0.0):
            return served
        return _sigmoid(self.slope * _log_odds(served) + self.intercept)

    def drawn(self, served: Floats, draws: int, rng: np.random.Generator) -> Floats:
        """Return what may be expected of them, [draws, users]: each draw by another slope and intercept."""
        mean = [self.slope, self.intercept]
        parameters = rng.multivariate_normal(mean, self.covariance, draws, method="cholesky")
        return _sigmoid(parameters[:, :1] * _log_odds(served) + parameters[:, 1:])


def recalibration(
    calibrated_on: Floats, months: Sequence[tuple[Floats, Labels]] = ()
) -> Recalibration:
    """Return how served probabilities stand to what happens.

    Args:
        calibrated_on: probabilities of as many users, and such users, as the calibration was fitted to: they
            say how much it owes to chance.
        months: probabilities and labels of later months' users, none of them fitted on.
    """
    start, identity = np.array([1.0, 0.0]), np.eye(2)
    # Not less sure than a standard deviation of 1, were there nobody at all.
    chance = np.linalg.inv(_information(_log_odds(calibrated_on), start) + identity)
    moved = np.diag([MOVED_SLOPE**2, MOVED_INTERCEPT**2])
    precision = np.linalg.inv(chance + moved)
    if not months:
        return Recalibration(1.0, 0.0, chance + moved)
    log_odds = _log_odds(np.concatenate([served for served, _ in months]))
    labels = np.concatenate([came for _, came in months])
    parameters = start
    for _ in range(_STEPS):
        error = labels - _sigmoid(parameters[0] * log_odds + parameters[1])
        gradient = np.array([error @ log_odds, error.sum()]) - precision @ (parameters - start)
        step = np.linalg.solve(_information(log_odds, parameters) + precision, gradient)
        parameters = parameters + np.clip(step, -0.5, 0.5)  # Newton's own steps may overshoot
        if np.abs(step).max() < 1e-9:
            break
    covariance = np.linalg.inv(_information(log_odds, parameters) + precision)
    return Recalibration(float(parameters[0]), float(parameters[1]), covariance)


def _information(log_odds: Floats, parameters: npt.NDArray[np.float64]) -> Floats:
    chance = _sigmoid(parameters[0] * log_odds + parameters[1])
    weight = chance * (1 - chance)
    both = float(weight @ log_odds)
    return np.array([[float(weight @ log_odds**2), both], [both, float(weight.sum())]])


def _log_odds(probabilities: Floats) -> Floats:
    clipped = np.clip(probabilities, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(clipped) - np.log1p(-clipped))


def _sigmoid(log_odds: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-log_odds)))
