"""Figures of a ranking, one per resample of the users: average precision and lift."""

from functools import partial

import numpy as np

from churn.evaluation.inputs import Floats, Labels


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
