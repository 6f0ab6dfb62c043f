"""How intervals add up: what the database's sums are held against."""

import math
from collections.abc import Sequence

from churn.evaluation.bootstrap import Interval


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
