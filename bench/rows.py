"""What was measured: a spread of runs, and a row of the table that sets ours beside others."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Spread:
    """The median of some runs, between the smallest and the largest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the spread of at least one run."""
        return cls(median(values), min(values), max(values))


@dataclass(frozen=True)
class Goal:
    """What a row is to reach, in words, and whether this run did."""

    text: str
    met: bool
    value: float | None = None  # what was reached, where it is a number
    bound: float | None = None


def at_most(what: str, value: float, bound: float, unit: str = "") -> Goal:
    """Return the goal that `value` is no more than `bound`."""
    return Goal(f"{what} <= {bound:g}{unit}", value <= bound, value, bound)


def at_least(what: str, value: float, bound: float, unit: str = "") -> Goal:
    """Return the goal that `value` is no less than `bound`."""
    return Goal(f"{what} >= {bound:g}{unit}", value >= bound, value, bound)


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        name: what was done.
        size: to how much.
        ours: how it went.
        unit: of `ours` and of everything in `beside`.
        beside: the same work done by others, in the same run of the bench.
        more: further figures of ours, each named with its unit.
        peak_mb: peak memory of the process that did it, by the operating system's account.
        goals: what the row is to reach; all of them make it met.
        limit: the measured physical limit of the same work, in `unit`, by its name; wanted where a goal
            is not met.
        note: what a reader must know to read the figures.
    """

    name: str
    size: str
    ours: Spread
    unit: str
    beside: dict[str, Spread] = field(default_factory=dict)
    more: dict[str, Spread] = field(default_factory=dict)
    peak_mb: dict[str, float] = field(default_factory=dict)
    goals: Sequence[Goal] = ()
    limit: dict[str, float] = field(default_factory=dict)
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours as a multiple of the first one beside it, in the row's unit."""
        first = next(iter(self.beside.values()), None)
        return self.ours.median / first.median if first else None

    @property
    def goal(self) -> str:
        """The goals in words; empty where the row has none."""
        return ", ".join(goal.text for goal in self.goals)

    @property
    def met(self) -> bool | None:
        """Whether this run reached every goal; None where the row has none."""
        return all(goal.met for goal in self.goals) if self.goals else None

    def record(self) -> dict[str, Any]:
        """Return the row as it is kept in JSON: medians under their names, spreads apart."""
        return {
            "name": self.name,
            "size": self.size,
            "ours": self.ours.median,
            "unit": self.unit,
            "beside": {name: spread.median for name, spread in self.beside.items()},
            "ratio": self.ratio,
            "goal": self.goal,
            "goals": [asdict(goal) for goal in self.goals],
            "met": self.met,
            "limit": self.limit,
            "more": {name: spread.median for name, spread in self.more.items()},
            "peak_mb": self.peak_mb,
            "min_max": {
                name: [spread.low, spread.high]
                for name, spread in {"ours": self.ours, **self.beside, **self.more}.items()
            },
            "note": self.note,
        }
