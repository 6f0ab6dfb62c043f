"""Performance before any label is known: what calibrated probabilities imply about themselves (CBPE).

A calibration is two numbers fitted to the training users of one month. Those users are a sample, and the
population moves on. Both errors stay with a release for as long as it serves, so every month errs in the
same direction. The prior is that the calibration holds; each month whose labels have matured since updates
it (a Bayesian logistic regression of two parameters, at its mode). The method:
https://nannyml.readthedocs.io/en/stable/how_it_works/performance_estimation.html
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from churn.arrays import Bools, Floats, Labels
from churn.errors import ChurnError
from churn.evaluation.bootstrap import CONFIDENCE, RESAMPLES, Interval, bounds, drawn_users
from churn.evaluation.money import Campaign, contact_profit

# How far slope and intercept move with the population, as standard deviations. They were chosen from a few
# releases of the public population; `python -m churn.monitoring.estimate_errors` shows how often the bounds
# hold with them.
MOVED_SLOPE, MOVED_INTERCEPT = 0.05, 0.10
# Probabilities are kept this far from 0 and 1, so that no single user outweighs all others.
_EDGE = 1e-6
_STEPS = 50


@dataclass(frozen=True)
class Recalibration:
    """P(churn) = sigmoid(slope * log odds + intercept) of the served log odds; both are uncertain."""

    slope: float
    intercept: float
    covariance: npt.NDArray[np.floating[Any]]  # [2, 2], of slope and intercept

    def probabilities(self, served: Floats) -> Floats:
        """Return the probabilities to expect of users who were served these, [N]."""
        if (self.slope, self.intercept) == (1.0, 0.0):
            return served
        return _sigmoid(self.slope * _log_odds(served) + self.intercept)

    def drawn(self, served: Floats, draws: int, rng: np.random.Generator) -> Floats:
        """Return plausible probabilities, [draws, N]: each draw has a slope and an intercept of its own."""
        mean = [self.slope, self.intercept]
        parameters = rng.multivariate_normal(mean, self.covariance, draws, method="cholesky")
        return _sigmoid(parameters[:, :1] * _log_odds(served) + parameters[:, 1:])


def recalibration(
    calibrated_on: Floats, months: Sequence[tuple[Floats, Labels]] = ()
) -> Recalibration:
    """Return how served probabilities relate to what happens.

    Args:
        calibrated_on: probabilities of as many users, of the same kind, as the calibration was fitted to.
            They determine how uncertain it is by chance alone.
        months: probabilities and labels of later months' users; the model was fitted on none of them.
    """
    start, identity = np.array([1.0, 0.0]), np.eye(2)
    # The identity keeps the standard deviation at 1 or less, even if there were no users at all.
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
        # Full Newton steps may overshoot.
        parameters = parameters + np.clip(step, -0.5, 0.5)
        if np.abs(step).max() < 1e-9:
            break
    covariance = np.linalg.inv(_information(log_odds, parameters) + precision)
    return Recalibration(float(parameters[0]), float(parameters[1]), covariance)


def _information(log_odds: Floats, parameters: Floats) -> Floats:
    chance = _sigmoid(parameters[0] * log_odds + parameters[1])
    weight = chance * (1 - chance)
    both = float(weight @ log_odds)
    return np.array([[float(weight @ log_odds**2), both], [both, float(weight.sum())]])


def _log_odds(probabilities: Floats) -> Floats:
    clipped = np.clip(probabilities, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(clipped) - np.log1p(-clipped))


def _sigmoid(log_odds: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-log_odds)))


METRICS = ("auc", "log_loss", "brier", "churn_rate", "profit")
# Labels drawn at once: this bounds the memory.
_CELLS = 2_000_000
_TINY = 1e-15


def estimates(
    probabilities: Floats,
    contacted: Bools,
    campaign: Campaign,
    *,
    confidence: float = CONFIDENCE,
    draws: int = RESAMPLES,
    seed: int = 0,
    recalibration: Recalibration | None = None,
) -> dict[str, Interval]:
    """Return the expected figures of these users, by the names of METRICS.

    The estimate is exact. Its bounds come from drawing labels many times: they show how far the realised
    figures may stray by chance, and by what is unknown about the probabilities themselves. Above DRAWN_USERS
    users, labels are drawn for a fixed sample, as in churn.evaluation.bootstrap.

    Args:
        probabilities: calibrated, of leaving, [N].
        contacted: whom the campaign contacts, [N].
        campaign: its terms; profit is per user of the population.
        confidence: of the bounds, between 0 and 1.
        draws: how many times labels are drawn.
        seed: of the draws.
        recalibration: how the probabilities relate to what happens; None takes them as exact.

    Raises:
        ChurnError: there are no users, or a probability is not between 0 and 1.
    """
    # NaN is neither, and so is refused, too.
    inside = (probabilities >= 0) & (probabilities <= 1)
    if probabilities.size == 0 or not inside.all():
        raise ChurnError(
            f"{probabilities.size} users, {int((~inside).sum())} of them without a probability",
            where="estimated performance",
            remedy="materialize churn_scores of the month again",
        )
    chances = recalibration.probabilities(probabilities) if recalibration else probabilities
    expected = _figures(chances[None, :], probabilities, contacted, campaign)
    part = drawn_users(probabilities.size, seed)
    some, reached = probabilities[part], contacted[part]
    of_drawn = _figures(chances[part][None, :], some, reached, campaign)
    parts = [
        _figures(labels, some, reached, campaign)
        for labels in _drawn(some, draws, seed, recalibration)
    ]
    # More users do not make the probabilities themselves less uncertain, so such bounds are not scaled.
    users = some.size if recalibration else probabilities.size
    result = {}
    for name in METRICS:
        seen: Floats = np.concatenate([each[name] for each in parts])
        seen = seen[np.isfinite(seen)] if np.isfinite(seen).any() else np.array([np.nan])
        result[name] = bounds(
            seen, float(expected[name][0]), float(of_drawn[name][0]), users, confidence,
        )  # fmt: skip
    return result


def _drawn(
    probabilities: Floats, draws: int, seed: int, recalibration: Recalibration | None
) -> Iterator[Floats]:
    rng = np.random.default_rng(seed)
    block = max(1, _CELLS // probabilities.size)
    for done in range(0, draws, block):
        count = min(block, draws - done)
        chances = recalibration.drawn(probabilities, count, rng) if recalibration else probabilities
        yield (rng.random((count, probabilities.size)) < chances).astype(np.float64)


def _figures(
    labels: Floats, probabilities: Floats, contacted: Bools, campaign: Campaign
) -> dict[str, Floats]:
    """Return each figure for each row of labels, [rows, N]; a label may be a probability.

    All figures but the AUC are linear in the labels, so those of probabilities are the expected figures.
    """
    users = probabilities.size
    clipped = np.clip(probabilities, _TINY, 1 - _TINY)
    if_left, if_stayed = -np.log(clipped), -np.log1p(-clipped)
    if_kept = contact_profit(np.ones(users, dtype=np.int64), campaign)
    if_wasted = contact_profit(np.zeros(users, dtype=np.int64), campaign)

    def mean(left: Floats, stayed: Floats) -> Floats:
        return np.asarray((labels @ left + (1 - labels) @ stayed) / users)

    return {
        "auc": _auc(labels, probabilities),
        "log_loss": mean(if_left, if_stayed),
        "brier": mean((1 - probabilities) ** 2, probabilities**2),
        "churn_rate": labels.mean(axis=1),
        "profit": mean(if_kept * contacted, if_wasted * contacted),
    }


def _auc(labels: Floats, probabilities: Floats) -> Floats:
    """Return the share of (left, stayed) pairs in the right order; a user may be partly in either class.

    For expected labels it is the expected number of ordered pairs over the expected number of pairs.
    """
    order = np.argsort(probabilities, kind="stable")
    left, stayed = labels[:, order], 1 - labels[:, order]
    # Nobody is paired with himself.
    own = (left * stayed).sum(axis=1)
    starts = np.flatnonzero(np.diff(probabilities[order], prepend=np.nan) != 0)
    left, stayed = np.add.reduceat(left, starts, axis=1), np.add.reduceat(stayed, starts, axis=1)
    below = np.cumsum(stayed, axis=1) - stayed / 2
    pairs = left.sum(axis=1) * stayed.sum(axis=1) - own
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(((left * below).sum(axis=1) - own / 2) / pairs)
