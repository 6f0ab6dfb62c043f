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

    every = [column.value_counts() for column in (before, after)]
    counts = [count[count > 0] for count in every]  # a category may be nobody's
    used = sorted(set(counts[0].index) | set(counts[1].index))
    shares = [count.reindex(used, fill_value=0).to_numpy() / count.sum() for count in counts]
    value = float(jensenshannon(*shares)) if len(used) > 1 else 0.0
    chance = np.sqrt((len(used) - 1) / 8 * (1 / len(before) + 1 / len(after)))
    return Distance(value, float(chance))
