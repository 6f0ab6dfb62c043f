"""The two years that `churn simulate` plays: what goes wrong in which month, and how each drop arrives."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from churn.population.scenario import Conditions, Scenario

MONTHS = 24
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
    """

    price_rise: int = 6
    corrected: int = 9
    late: int = 12
    label_process: int = 15
    lost: int = 21

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
