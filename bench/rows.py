"""What was measured: the spread of some runs, and a row of the table that compares ours with others."""

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
    """What a row should reach, as text, and whether this run did; with the figures, where there are any."""

    text: str
    met: bool
    value: float | None = None
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
        size: how much of it.
        ours: our figure.
        unit: of `ours` and of everything in `beside`.
        beside: the same work done by others, in the same run of the bench.
        more: further figures of ours, each named with its unit.
        peak_mb: peak memory of the process that did it, as the operating system counts it.
        goals: what the row should reach; it is met if all of them are.
        limit: the measured physical limit of the same work, in `unit`, by its name; required if a goal is
            not met.
        note: what a reader must know to understand the figures.
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
        """The goals as text; empty if the row has none."""
        return ", ".join(goal.text for goal in self.goals)

    @property
    def met(self) -> bool | None:
        """Whether this run reached every goal; None if the row has none."""
        return all(goal.met for goal in self.goals) if self.goals else None

    def record(self) -> dict[str, Any]:
        """Return the row as it is kept in JSON: medians by their names, spreads separately."""
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
