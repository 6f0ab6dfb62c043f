"""What a scenario moves: prices and the label process, each from some month on."""

from collections.abc import Mapping
from dataclasses import dataclass, field

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
