"""What a campaign would come to over a month's stored scores: how far its list goes, and what it brings.

A plan is worked out by the functions that make the list, so under the terms that a list was made under it has
the same users, the same control group and the same sums.
"""

import functools
from dataclasses import dataclass
from typing import LiteralString

import numpy as np

from churn.arrays import Bools, Floats, Ints
from churn.contract.in_force import CONTRACT
from churn.errors import ChurnError
from churn.evaluation.money import Calls, Campaign, calls
from churn.months import Month
from churn.scoring.control_group import Hashes, control_hashes, left_alone

# One value for each column: of a million users that takes a second, where a million rows take many.
SCORES: LiteralString = """
SELECT string_agg(float8send(probability), ''::bytea ORDER BY rank) AS probabilities,
    string_agg(float8send(customer_value), ''::bytea ORDER BY rank) AS customer_values,
    string_agg(user_id, chr(10) ORDER BY rank) AS user_ids
FROM retention.customer_history WHERE as_of = %(as_of)s"""
CURVE_POINTS = 120
# Behind the last call that pays, the curve goes on for so much of the way to it.
_BEYOND = 0.5


@dataclass(frozen=True)
class ScoreColumns:
    """A month's scores as SCORES returns them; all None where nobody was scored."""

    probabilities: bytes | None
    customer_values: bytes | None
    user_ids: str | None


@dataclass(frozen=True)
class MonthScores:
    """A month's scores in the order of rank, [N] each.

    Args:
        probabilities: of leaving.
        values: what keeping each user is worth; None: what the campaign says, the same for all.
        hashes: that choose the control group.
    """

    probabilities: Floats
    values: Floats | None
    hashes: Hashes


@dataclass(frozen=True)
class Point:
    """What it would come to if so many were called, the first of the order of calling.

    Args:
        contacts: how many are called.
        profit: what the calls are expected to bring.
        cost: what they are expected to cost.
        probability: of the last of them.
    """

    contacts: int
    profit: float
    cost: float
    probability: float


@dataclass(frozen=True)
class ListPlan:
    """A month's list as a campaign would have it.

    Args:
        in_order: all users in the order of calling.
        probabilities: of leaving, in that order, [N].
        is_control: of those on the list, in that order, who is left alone.
    """

    in_order: Calls
    probabilities: Floats
    is_control: Bools

    @functools.cached_property
    def rows(self) -> Ints:
        """Rows of the scores that are on the list, the first to call first."""
        return self.in_order.order[self.in_order.is_due]

    @property
    def listed(self) -> int:
        """How many are on the list."""
        return len(self.is_control)

    @property
    def control(self) -> int:
        """How many of the list are left alone."""
        return int(self.is_control.sum())

    @property
    def treated(self) -> int:
        """How many of the list are to be called."""
        return self.listed - self.control

    @functools.cached_property
    def expected_profit(self) -> float:
        """What calling those who are to be called is expected to bring."""
        return float(self.in_order.profit[self.in_order.is_due][~self.is_control].sum())

    @functools.cached_property
    def expected_cost(self) -> float:
        """What calling those who are to be called is expected to cost."""
        costs = np.diff(self.in_order.spent, prepend=0.0)[self.in_order.is_due]
        return float(costs[~self.is_control].sum())

    @functools.cached_property
    def paying(self) -> int:
        """How many calls would pay, whatever the budget."""
        return int((self.in_order.profit > 0).sum())

    @functools.cached_property
    def cut_off(self) -> float | None:
        """The lowest probability of leaving on the list; None where it is empty."""
        listed = self.probabilities[self.in_order.is_due]
        return float(listed.min()) if len(listed) else None

    def curve(self, points: int = CURVE_POINTS) -> list[Point]:
        """Return what calling more and more would come to, from nobody on, nobody left alone.

        The end of the list and the last call that pays are among the points.
        """
        users = len(self.probabilities)
        end = min(users, max(self.listed, int(self.paying * (1 + _BEYOND)))) or users
        numbers = {round(n) for n in np.linspace(0, end, points)} | {self.listed, self.paying}
        profit = np.cumsum(self.in_order.profit)
        return [
            Point(
                n,
                float(profit[n - 1]) if n else 0.0,
                float(self.in_order.spent[n - 1]) if n else 0.0,
                float(self.probabilities[max(n, 1) - 1]),
            )
            for n in sorted(numbers)
        ]


def month_scores(month: Month, columns: ScoreColumns) -> MonthScores | None:
    """Return a month's scores as they are stored; None where nobody was scored.

    Raises:
        ChurnError: what each user is worth differs, and was not kept when the month was scored.
    """
    if columns.probabilities is None or columns.user_ids is None:
        return None
    probabilities = _floats(columns.probabilities)
    values = _floats(columns.customer_values or b"")
    worth = CONTRACT.customer_value
    is_own = worth is not None and bool(worth.column)
    if is_own and len(values) < len(probabilities):
        raise ChurnError(
            f"{month} was scored before it was kept what each user is worth",
            where=str(month),
            remedy="score the month again",
        )
    hashes = control_hashes(month, columns.user_ids.split("\n"))
    return MonthScores(probabilities, values if is_own else None, hashes)


def _floats(packed: bytes) -> Floats:
    return np.frombuffer(packed, ">f8").astype(np.float64)


def plan(scores: MonthScores, campaign: Campaign) -> ListPlan:
    """Return a month's list as a campaign would have it.

    Of two calls that would bring the very same, that of the user who ranked first in the month comes first.
    """
    in_order = calls(scores.probabilities, campaign, scores.values)
    listed = in_order.order[in_order.is_due]
    return ListPlan(
        in_order,
        scores.probabilities[in_order.order],
        left_alone(scores.hashes[listed], campaign.control_share),
    )
