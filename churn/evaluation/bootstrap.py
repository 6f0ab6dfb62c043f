"""How sure a figure is: bootstrap percentile intervals over users, with the same draws every time.

Above DRAWN_USERS users only a fixed sample of them is resampled, and the distance of the bounds from the
estimate is scaled to all users: it shrinks with the square root of their number. The estimate itself is
always that of all users. The method: Efron and Tibshirani, An Introduction to the Bootstrap (1993),
chapters 13 and 16. The plain figures, without intervals, are `metrics.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from churn.arrays import Floats, Ints, Labels
from churn.errors import ChurnError
from churn.evaluation.metrics import require_judgeable


def average_precision(labels: Labels, probabilities: Floats, counts: Floats) -> Floats:
    """Return the average precision of each resample; users of equal probability share a rank."""
    everybody, left = _from_the_top(labels, probabilities, counts)
    gained = np.diff(left, prepend=0.0, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(everybody > 0, left / everybody, 0.0)
        return np.asarray((gained * precision).sum(axis=1) / left[:, -1])


def lift(share: float, labels: Labels, probabilities: Floats, counts: Floats) -> Floats:
    """Return the churn rate of the highest-scored `share` of users, as a multiple of the overall rate.

    Where the cut falls among users of equal probability, each counts in part.
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
# Users drawn at once, over all resamples of a block: this bounds the memory.
_CELLS = 4_000_000

# Takes labels, probabilities, and how often each resample has drawn each user ([resamples, users]); gives one
# figure per resample.
Measure = Callable[[Labels, Floats, Floats], Floats]
# A Measure whose labels and probabilities are bound already: it takes the counts alone.
Figure = Callable[[Floats], Floats]
# Which users are resampled.
Users = slice | Ints


class Interval(NamedTuple):
    """A figure, and the bounds between which it lies at the stated confidence."""

    estimate: float
    low: float
    high: float


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
        labels: 1 for those who left, [N].
        probabilities: the model's, of leaving, [N].
        metrics: names of MEASURES.
        confidence: of the intervals, between 0 and 1.
        resamples: how many times the users are drawn.
        seed: of the draws.

    Raises:
        ChurnError: these users cannot be judged: there are none, all are of one class, or a probability
            is NaN.
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
    """Return by how much a challenger's figure exceeds a champion's, resample by resample on the same users.

    Args:
        labels: 1 for those who left, [N].
        challenger: its probabilities of leaving, [N].
        champion: its probabilities of leaving, of the same users in the same order.
        measure: a name of MEASURES, or a function like those.
        confidence: of the interval, between 0 and 1.
        resamples: how many times the users are drawn.
        seed: of the draws.

    Raises:
        ChurnError: these users cannot be judged: there are none, all are of one class, or a probability
            is NaN.
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
    """Return the mean of one value per user, with its interval.

    Raises:
        ChurnError: there are no values, or one of them is not a number.
    """
    if len(values) == 0 or not np.isfinite(values).all():
        raise ChurnError("there is nothing to take the mean of, or a NaN in it", where="evaluation")

    def figure(users: Users) -> Figure:
        return lambda counts: counts @ values[users] / counts.sum(axis=1)

    return _intervals({"": figure}, len(values), confidence, resamples, seed)[""]


def drawn_users(users: int, seed: int) -> Users:
    """Return which users are resampled: everybody, or a fixed DRAWN_USERS of them."""
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
        of_drawn: the figure of the users who are resampled.
        users: how many users there are in all.
        confidence: of the interval, between 0 and 1.
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
    result = {}
    for name in figures:
        # A resample of few users may miss a class, and then has no figure.
        seen: Floats = np.concatenate(drawn[name])
        seen = seen[np.isfinite(seen)]
        if seen.size < resamples / 2:
            raise ChurnError(f"{users} users are too few for an interval", where="evaluation")
        estimate = float(figures[name](slice(None))(np.ones((1, users)))[0])
        of_drawn = float(of_part[name](np.ones((1, count)))[0])
        result[name] = bounds(seen, estimate, of_drawn, users, confidence)
    return result


def _counts(rng: np.random.Generator, resamples: int, users: int) -> Floats:
    """Return how often each resample has drawn each user: as many draws as users, with replacement."""
    drawn = rng.integers(0, users, size=(resamples, users))
    drawn += np.arange(resamples)[:, None] * users
    counts = np.bincount(drawn.ravel(), minlength=resamples * users)
    return counts.reshape(resamples, users).astype(np.float64)
