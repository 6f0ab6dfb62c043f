"""How far two months are apart in one column: a statistic on bins, and what chance alone makes of it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Distance:
    """The Jensen-Shannon distance of one column (0 alike, .83 nothing in common; natural logarithms).

    `chance` is the distance that two samples of one population have on average: with k bins in use it
    is about sqrt((k - 1) / 8 * (1 / rows + 1 / rows of the reference)).
    """

    value: float
    chance: float


def distances(before: "pd.DataFrame", after: "pd.DataFrame") -> dict[str, Distance]:
    """Return the distance of each column of two frames in the same bins."""
    return {str(name): _distance(before[name], after[name]) for name in before.columns}


def _distance(before: "pd.Series[Any]", after: "pd.Series[Any]") -> Distance:
    from scipy.spatial.distance import jensenshannon

    counts = [_counts(column) for column in (before, after)]
    used = sorted(counts[0].keys() | counts[1].keys())
    users = [np.array([count.get(name, 0) for name in used]) for count in counts]
    shares = [each / each.sum() for each in users]
    value = float(jensenshannon(*shares)) if len(used) > 1 else 0.0
    chance = np.sqrt((len(used) - 1) / 8 * (1 / len(before) + 1 / len(after)))
    return Distance(value, float(chance))


def _counts(column: "pd.Series[Any]") -> dict[Any, int]:
    """Return how many rows each bin has that has any: a category may be nobody's.

    Counted by code, since making and aligning the index of a pandas count costs more than to count.
    """
    bins = column.astype("category").cat
    codes = bins.codes.to_numpy()
    counts = np.bincount(codes[codes >= 0], minlength=len(bins.categories))
    return {
        name: count for name, count in zip(bins.categories, counts.tolist(), strict=True) if count
    }
