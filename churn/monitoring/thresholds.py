"""The thresholds of drift: read from the tables that simulation and calibration derive, never typed here."""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from churn.contract.in_force import CONTRACT
from churn.errors import ChurnError
from churn.monitoring.distance import KINDS, Distance
from churn.settings import get_settings

TABLE = "thresholds.json"
CALIBRATED = "drift_thresholds.json"
DERIVE = "python -m churn.monitoring.false_alarms"
SCORE = "score"  # the column of scores, beside the features


class Threshold(NamedTuple):
    """From which distance on a column counts as drifted."""

    distance: float
    is_provisional: bool  # of its kind: nobody has looked yet how far this column moves by itself


@dataclass(frozen=True)
class Thresholds:
    """From which distance on a column counts as drifted.

    Two things move a column in a world where nothing happens: joiners replace leavers, the more so the
    older the reference; and chance, the more so the fewer users there are. So a threshold is
    `turnover[column][age] + sampling * chance`: the distance is a metric, and distances add up. A column
    whose own turnover is not known has that of the liveliest simulated column of its kind, provisionally.
    """

    share: float  # of months in a clean world that alarm, whichever column it is
    sampling: float  # multiple of what chance makes
    turnover: Mapping[
        str, list[float]
    ]  # by column; the first entry is of a reference one month old
    provisional: Mapping[str, list[float]] = field(
        default_factory=dict
    )  # the same by kind of column

    def of(self, column: str, distance: Distance, age: int) -> Threshold:
        """Return the threshold of one column.

        Args:
            column: a feature, or `score`.
            distance: what was measured; its `chance` knows rows and bins.
            age: of the reference in months; beyond the table the oldest entry holds.

        Raises:
            ChurnError: the contract does not know the column, or the reference is not older.
        """
        own = self.turnover.get(column)
        moved = own or self.provisional.get(KINDS.get(column, column))
        if moved is None or age < 1:
            raise ChurnError(
                f"no threshold for {column} against a reference {age} months old",
                where=TABLE,
                remedy=f"derive the thresholds again: {DERIVE}",
            )
        value = moved[min(age, len(moved)) - 1] + self.sampling * distance.chance
        return Threshold(value, own is None)


def read_thresholds() -> Thresholds:
    """Read what holds for this deployment: calibrated, else simulated for this business, else provisional."""
    simulated = simulated_thresholds()
    return replace(simulated, turnover={**simulated.turnover, **_calibrated()})


def simulated_thresholds(contract: str = CONTRACT.name) -> Thresholds:
    """Read the committed table: turnover of the business that was simulated, of another its kinds alone.

    Args:
        contract: the name of the business.
    """
    table = _committed()
    return Thresholds(
        table["share"],
        table["sampling"],
        table["turnover"] if table["contract"] == contract else {},
        {**table["provisional"], SCORE: table["turnover"][SCORE]},
    )


def calibrated_path() -> Path:
    """Return where calibration keeps what it derived from the deployment's own months."""
    return get_settings().home / CALIBRATED


def _calibrated() -> dict[str, list[float]]:
    path = calibrated_path()
    try:
        turnover: dict[str, list[float]] = json.loads(path.read_text(encoding="utf-8"))["turnover"]
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError) as error:
        raise ChurnError(
            f"the calibrated thresholds cannot be read: {error}",
            where=str(path),
            remedy="`churn contract calibrate` writes them again; without the file the provisional ones hold",
        ) from error
    return turnover


@functools.cache
def _committed() -> dict[str, Any]:
    text = resources.files(__package__).joinpath(TABLE).read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text)
    return table
