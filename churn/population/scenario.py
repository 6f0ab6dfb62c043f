"""What a scenario changes (prices and the label process, from some month on), and what goes wrong on the way.

`Troubles` is what `churn simulate` plants: how each drop arrives, and in which state.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from churn.errors import ChurnError


@dataclass(frozen=True)
class Conditions:
    """The conditions of a month.

    Args:
        fee_factor: prices, as a multiple of those of month_000.
        label_slope: how the log odds of leaving depend on the profile: 1 as in month_000, 0 not at all, -1
            reversed. The mean rate stays the same.
        label_shift: added to everybody's log odds of leaving.
    """

    fee_factor: float = 1.0
    label_slope: float = 1.0
    label_shift: float = 0.0


@dataclass(frozen=True)
class Treated:
    """Users to whom something is done in the month after a drop, and what it does to them.

    Args:
        user_ids: members of that month.
        log_odds: added to their log odds of leaving; below 0 keeps users, 0 does nothing.
    """

    user_ids: frozenset[str]
    log_odds: float


@dataclass(frozen=True)
class Scenario:
    """Conditions by month number (1 is the second month), each in force until the next ones.

    `treated` applies to the month of its number only. It changes who leaves, and so who is there later.
    """

    changes: Mapping[int, Conditions] = field(default_factory=dict)
    treated: Mapping[int, Treated] = field(default_factory=dict)

    def __post_init__(self) -> None:
        early = [number for number in (*self.changes, *self.treated) if number < 1]
        if early:
            raise ChurnError(
                f"a scenario cannot change month number {early[0]}",
                remedy="month_000 is the benchmark as it is: begin changes at 1",
            )

    def at(self, number: int) -> Conditions:
        """Return the conditions of the month with this number."""
        begun = [start for start in self.changes if start <= number]
        return self.changes[max(begun)] if begun else Conditions()


MONTHS, LEAST_MONTHS = 24, 12
How = Literal["drop", "labels", "late drop", "correction"]


@dataclass(frozen=True)
class DropArrival:
    """Something that is delivered: the number of its month, 0 for the first, and what it is."""

    number: int
    how: How


@dataclass(frozen=True)
class Troubles:
    """What is planted, by month number.

    Args:
        price_rise: from this month on, fees are higher by a quarter.
        label_process: from this month on, the label process is reversed: those who used to stay now leave.
        late: this month's drop comes after the next one's.
        corrected: this month's drop is corrected a month later.
        lost: this month's drop never comes.
        months: how many months are played.
    """

    price_rise: int = 6
    corrected: int = 9
    late: int = 12
    label_process: int = 15
    lost: int = 21
    months: int = MONTHS

    @classmethod
    def within(cls, months: int) -> "Troubles":
        """Return the same troubles in fewer months, each at the same share of the way.

        Args:
            months: at least LEAST_MONTHS, so that no two troubles fall into one month.
        """
        plan = cls()

        def moved(number: int) -> int:
            return number * months // MONTHS

        return cls(
            price_rise=moved(plan.price_rise),
            corrected=moved(plan.corrected),
            late=moved(plan.late),
            label_process=moved(plan.label_process),
            # As near the end as in the full plan: the first month trained on after it takes its decision.
            lost=months - (MONTHS - plan.lost),
            months=months,
        )

    @property
    def scenario(self) -> Scenario:
        """The scenario under which the population is played."""
        dear = Conditions(fee_factor=1.25)
        turned = Conditions(fee_factor=1.25, label_slope=-1.0)
        return Scenario({self.price_rise: dear, self.label_process: turned})

    @property
    def planted(self) -> dict[int, str]:
        """Names of what is planted, by month number."""
        return {
            self.price_rise: "price rise",
            self.corrected: "corrected drop",
            self.late: "late drop",
            self.label_process: "change of label process",
            self.lost: "lost drop",
        }

    def arrivals(self, number: int) -> Iterator[DropArrival]:
        """Yield what is delivered after month `number` has closed, in order."""
        if number not in (self.late, self.lost):
            yield DropArrival(number, "drop")
        before = number - 1
        if before == self.late:
            yield DropArrival(before, "late drop")
        elif before >= 0 and before != self.lost:
            yield DropArrival(before, "labels")
        if before == self.corrected:
            yield DropArrival(before, "correction")
