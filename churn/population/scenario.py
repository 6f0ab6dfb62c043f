"""What a scenario moves (prices and the label process, from some month on), and what goes wrong on the way.

`Troubles` are the months that `churn simulate` plays: how each drop arrives, and in which state.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from churn.errors import ChurnError


@dataclass(frozen=True)
class Conditions:
    """What holds in a month.

    Args:
        fee_factor: prices as a multiple of month_000's.
        label_slope: how the log odds of leaving follow the profile: 1 as in month_000, 0 not at
            all, -1 reversed. The mean rate is kept.
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
    """Conditions by month number (1 is the second month), each in force until the next.

    `treated` holds for the month of its number only: it changes who leaves, and so who is there later.
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
        """Return what is in force in the month of that number."""
        begun = [start for start in self.changes if start <= number]
        return self.changes[max(begun)] if begun else Conditions()


MONTHS, LEAST_MONTHS = 24, 12
How = Literal["drop", "labels", "late drop", "correction"]


@dataclass(frozen=True)
class Arrival:
    """Something that comes in: which month's, and what of it."""

    number: int  # of the month it belongs to, 0 for the first
    how: How


@dataclass(frozen=True)
class Troubles:
    """What is planted, by month number.

    Args:
        price_rise: fees rise by a quarter from here on.
        label_process: the label process turns round here (8.3: those who used to stay now leave).
        late: this drop comes after the next one.
        corrected: this drop is corrected a month later.
        lost: this drop never comes.
        months: how many are played.
    """

    price_rise: int = 6
    corrected: int = 9
    late: int = 12
    label_process: int = 15
    lost: int = 21
    months: int = MONTHS

    @classmethod
    def within(cls, months: int) -> "Troubles":
        """Return the same troubles in fewer months: at the same share of the way, the lost as near the end.

        Args:
            months: from LEAST_MONTHS on, so that no two of them fall together.
        """
        plan = cls()

        def moved(number: int) -> int:
            return number * months // MONTHS

        return cls(
            price_rise=moved(plan.price_rise),
            corrected=moved(plan.corrected),
            late=moved(plan.late),
            label_process=moved(plan.label_process),
            lost=months
            - (MONTHS - plan.lost),  # the first month trained on after it takes its decision
            months=months,
        )

    @property
    def scenario(self) -> Scenario:
        """Return what the population is played under."""
        dear = Conditions(fee_factor=1.25)
        turned = Conditions(fee_factor=1.25, label_slope=-1.0)
        return Scenario({self.price_rise: dear, self.label_process: turned})

    @property
    def planted(self) -> dict[int, str]:
        """Return what is planted in which month, in words."""
        return {
            self.price_rise: "price rise",
            self.corrected: "corrected drop",
            self.late: "late drop",
            self.label_process: "change of label process",
            self.lost: "lost drop",
        }

    def arrivals(self, number: int) -> Iterator[Arrival]:
        """Yield what comes in when month `number` has closed, in order."""
        if number not in (self.late, self.lost):
            yield Arrival(number, "drop")
        before = number - 1
        if before == self.late:
            yield Arrival(before, "late drop")
        elif before >= 0 and before != self.lost:
            yield Arrival(before, "labels")
        if before == self.corrected:
            yield Arrival(before, "correction")
