"""How sure a figure is: percentile intervals of users drawn again, the same draws every time.

Above DRAWN_USERS users a fixed sample of them is drawn again, and the bounds' distance from the estimate is
scaled to all: it shrinks as the square root of the number of users. The estimate is always of all users.
Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 13 and 16.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from churn.errors import ChurnError
from churn.evaluation.metrics import Floats, Labels, require_judgeable


def average_precision(labels: Labels, probabilities: Floats, counts: Floats) -> Floats:
    """Return the precision at each leaver's rank, averaged; users of one probability come at once."""
    everybody, left = _from_the_top(labels, probabilities, counts)
    found = np.diff(left, prepend=0.0, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(everybody > 0, left / everybody, 0.0)
        return np.asarray((found * precision).sum(axis=1) / left[:, -1])


def lift(share: float, labels: Labels, probabilities: Floats, counts: Floats) -> Floats:
    """Return how often those of the highest `share` leave, as a multiple of everybody's rate.

    Where the cut falls among users of one probability, they count by share.
    """
    everybody, left = _from_the_top(labels, probabilities, counts)
    taken = share * everybody[:, -1]
    caught = np.array(
        [
            np.interp(cut, [0.0, *of_all], [0.0, *of_left])
            for cut, of_all, of_left in zip(taken, everybody, left, strict=True)
        ]
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(caught / taken / (left[:, -1] / everybody[:, -1]))


lift_10 = partial(lift, 0.10)


def _from_the_top(labels: Labels, probabilities: Floats, counts: Floats) -> tuple[Floats, Floats]:
    """Return how many users, and how many leavers, lie at or above each distinct probability."""
    order = np.argsort(-probabilities, kind="stable")
    starts = np.flatnonzero(np.diff(probabilities[order], prepend=np.nan) != 0)
    drawn = counts[:, order]
    everybody = np.cumsum(np.add.reduceat(drawn, starts, axis=1), axis=1)
    left = np.cumsum(np.add.reduceat(drawn * (labels[order] == 1), starts, axis=1), axis=1)
    return everybody, left


RESAMPLES = 1_000
CONFIDENCE = 0.95
DRAWN_USERS = 100_000
_CELLS = 4_000_000  # users drawn at once, in all resamples of a block: bounds the memory

# One figure per resample: of labels, probabilities and the resamples' counts of each user.
Measure = Callable[[Labels, Floats, Floats], Floats]
Figure = Callable[[Floats], Floats]  # of the counts alone
Users = slice | npt.NDArray[np.int64]  # who is drawn again


class Interval(NamedTuple):
    """A figure with the bounds between which it lies at the stated confidence."""

    estimate: float
    low: float
    high: float


def added_up(intervals: Sequence[Interval]) -> Interval:
    """Return the sum of figures that err independently of one another, with its interval.

    Distances to the bounds add up as squares, each side with its own (MOVER; Zou and Donner, 2008).

    Args:
        intervals: of one confidence, which is that of the sum, too.
    """
    total = sum(each.estimate for each in intervals)
    low = math.hypot(*(each.estimate - each.low for each in intervals))
    high = math.hypot(*(each.high - each.estimate for each in intervals))
    return Interval(total, total - low, total + high)


def auc(labels: Labels, probabilities: Floats, counts: Floats) -> Floats:
    """Return the area under the ROC curve of each resample; ties count one half."""
    order = np.argsort(probabilities, kind="stable")
    left = counts[:, order] * (labels[order] == 1)
    stayed = counts[:, order] * (labels[order] == 0)
    starts = np.flatnonzero(np.diff(probabilities[order], prepend=np.nan) != 0)
    left, stayed = np.add.reduceat(left, starts, axis=1), np.add.reduceat(stayed, starts, axis=1)
    below = np.cumsum(stayed, axis=1) - stayed / 2
    pairs = left.sum(axis=1) * stayed.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((left * below).sum(axis=1) / pairs)


def brier(labels: Labels, probabilities: Floats, counts: Floats) -> Floats:
    """Return the mean squared error of each resample."""
    return np.asarray(counts @ (probabilities - labels) ** 2 / counts.sum(axis=1))


def log_loss(labels: Labels, probabilities: Floats, counts: Floats) -> Floats:
    """Return the mean negative log-likelihood of each resample."""
    clipped = np.clip(probabilities, 1e-15, 1 - 1e-15)
    loss = -np.where(labels == 1, np.log(clipped), np.log1p(-clipped))
    return np.asarray(counts @ loss / counts.sum(axis=1))


def churn_rate(labels: Labels, _: Floats, counts: Floats) -> Floats:
    """Return the share of those who left in each resample."""
    return np.asarray(counts @ labels / counts.sum(axis=1))


MEASURES: dict[str, Measure] = {
    "auc": auc,
    "brier": brier,
    "log_loss": log_loss,
    "churn_rate": churn_rate,
    "average_precision": average_precision,
    "lift_10": lift_10,
}


def intervals(
    labels: Labels,
    probabilities: Floats,
    metrics: Sequence[str] = ("auc",),
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """Return metrics of one model with their intervals.

    Args:
        labels: 1 for those who left.
        probabilities: the model's, of leaving.
        metrics: names of MEASURES.
        confidence: of the intervals.
        resamples: how many times the users are drawn again.
        seed: of the draws.

    Raises:
        ChurnError: nothing can be said of these users: none, of one class, or a NaN among them.
    """
    require_judgeable(labels, probabilities)

    def figure(name: str, users: Users) -> Figure:
        return partial(MEASURES[name], labels[users], probabilities[users])

    figures = {name: partial(figure, name) for name in metrics}
    return _intervals(figures, len(labels), confidence, resamples, seed)


def paired_difference(
    labels: Labels,
    challenger: Floats,
    champion: Floats,
    measure: str | Measure,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Return by how much a challenger's figure exceeds a champion's, both on the same drawn users.

    Args:
        labels: 1 for those who left.
        challenger: its probabilities of leaving.
        champion: its probabilities of leaving, of the same users in the same order.
        measure: a name of MEASURES, or a function like those.
        confidence: of the interval.
        resamples: how many times the users are drawn again.
        seed: of the draws.

    Raises:
        ChurnError: nothing can be said of these users: none, of one class, or a NaN among them.
    """
    require_judgeable(labels, challenger, champion)
    of_one = MEASURES[measure] if isinstance(measure, str) else measure

    def figure(users: Users) -> Figure:
        more, less = (
            partial(of_one, labels[users], each[users]) for each in (challenger, champion)
        )
        return lambda counts: more(counts) - less(counts)

    return _intervals({"": figure}, len(labels), confidence, resamples, seed)[""]


def mean_interval(
    values: Floats,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Return the mean of one value per user with its interval."""
    if len(values) == 0 or not np.isfinite(values).all():
        raise ChurnError("there is nothing to take the mean of, or a NaN in it", where="evaluation")

    def figure(users: Users) -> Figure:
        return lambda counts: counts @ values[users] / counts.sum(axis=1)

    return _intervals({"": figure}, len(values), confidence, resamples, seed)[""]


def drawn_users(users: int, seed: int) -> Users:
    """Return who is drawn again: everybody, or DRAWN_USERS of them."""
    if users <= DRAWN_USERS:
        return slice(None)
    chosen = np.random.default_rng([seed, users]).choice(users, DRAWN_USERS, replace=False)
    chosen.sort()
    return chosen


def bounds(
    seen: Floats, estimate: float, of_drawn: float, users: int, confidence: float
) -> Interval:
    """Return an estimate with its bounds.

    Args:
        seen: the figure in each resample.
        estimate: the figure of all users.
        of_drawn: the figure of those who are drawn again.
        users: how many there are in all.
        confidence: of the interval.
    """
    low, high = np.quantile(seen, [(1 - confidence) / 2, (1 + confidence) / 2])
    if users > DRAWN_USERS:
        scale = np.sqrt(DRAWN_USERS / users)
        low, high = (estimate + (bound - of_drawn) * scale for bound in (low, high))
    return Interval(estimate, float(low), float(high))


def _intervals(
    figures: Mapping[str, Callable[[Users], Figure]],
    users: int,
    confidence: float,
    resamples: int,
    seed: int,
) -> dict[str, Interval]:
    part = drawn_users(users, seed)
    count = min(users, DRAWN_USERS)
    of_part = {name: figure(part) for name, figure in figures.items()}
    rng = np.random.default_rng(seed)
    drawn: dict[str, list[Floats]] = {name: [] for name in figures}
    block = max(1, _CELLS // count)
    for done in range(0, resamples, block):
        counts = _counts(rng, min(block, resamples - done), count)
        for name, figure in of_part.items():
            drawn[name].append(figure(counts))
    found = {}
    for name in figures:
        # A resample of few users may miss a class; it then says nothing.
        seen: Floats = np.concatenate(drawn[name])
        seen = seen[np.isfinite(seen)]
        if seen.size < resamples / 2:
            raise ChurnError(f"{users} users are too few for an interval", where="evaluation")
        estimate = float(figures[name](slice(None))(np.ones((1, users)))[0])
        of_drawn = float(of_part[name](np.ones((1, count)))[0])
        found[name] = bounds(seen, estimate, of_drawn, users, confidence)
    return found


def _counts(rng: np.random.Generator, resamples: int, users: int) -> Floats:
    """Return how often each resample has drawn each user: users with replacement, as many as there are."""
    drawn = rng.integers(0, users, size=(resamples, users))
    drawn += np.arange(resamples)[:, None] * users
    counts = np.bincount(drawn.ravel(), minlength=resamples * users)
    return counts.reshape(resamples, users).astype(np.float64)
