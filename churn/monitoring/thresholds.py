"""The thresholds of drift: read from the table that false_alarms.py derives, never typed here."""

import functools
import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

from churn.errors import ChurnError
from churn.monitoring.statistic import Distance

TABLE = "thresholds.json"
DERIVE = "python -m churn.monitoring.false_alarms"
SCORE = "score"  # the column of scores, beside the features


@dataclass(frozen=True)
class Thresholds:
    """From which distance on a column counts as drifted.

    Two things move a column in a world where nothing happens: joiners replace leavers, the more so the
    older the reference; and chance, the more so the fewer users there are. So a threshold is
    `turnover[column][age] + sampling * chance`: the distance is a metric, and distances add up.
    """

    share: float  # of months in a clean world that alarm, whichever column it is
    sampling: float  # multiple of what chance makes
    turnover: dict[str, list[float]]  # by column; the first entry is of a reference one month old

    def of(self, column: str, distance: Distance, age: int) -> float:
        """Return the threshold of one column.

        Args:
            column: a feature, or `score`.
            distance: what was measured; its `chance` knows rows and bins.
            age: of the reference in months; beyond the table the oldest entry holds.

        Raises:
            ChurnError: the table does not know the column, or the reference is not older.
        """
        if column not in self.turnover or age < 1:
            raise ChurnError(
                f"no threshold for {column} against a reference {age} months old",
                where=TABLE,
                remedy=f"derive the thresholds again: {DERIVE}",
            )
        moved = self.turnover[column]
        return moved[min(age, len(moved)) - 1] + self.sampling * distance.chance


@functools.cache
def read_thresholds() -> Thresholds:
    """Read the committed table."""
    text = resources.files(__package__).joinpath(TABLE).read_text(encoding="utf-8")
    said: dict[str, Any] = json.loads(text)
    return Thresholds(said["share"], said["sampling"], said["turnover"])
