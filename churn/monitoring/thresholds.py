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
# The name of the column of scores, beside those of the features.
SCORE = "score"


class Threshold(NamedTuple):
    """The distance from which on a column counts as drifted.

    It is provisional where it is that of the column's kind: nobody has measured yet how far this column
    moves by itself.
    """

    distance: float
    is_provisional: bool


@dataclass(frozen=True)
class Thresholds:
    """The thresholds of all columns.

    Two things move a column in a world where nothing happens: joiners replace leavers, and more of them the
    older the reference is; and chance, which is larger the fewer users there are. The distance is a metric,
    so the two add up: a threshold is `turnover[column][age] + sampling * chance`. A column whose own turnover
    is unknown provisionally has that of the most volatile simulated column of its kind.

    `share` is the share of months in a clean world in which any column alarms, and `sampling` a multiple of
    chance. `turnover` is by column, `provisional` by kind of column; their first entries are for a reference
    one month old.
    """

    share: float
    sampling: float
    turnover: Mapping[str, list[float]]
    provisional: Mapping[str, list[float]] = field(default_factory=dict)

    def of(self, column: str, distance: Distance, age: int) -> Threshold:
        """Return the threshold of one column.

        Args:
            column: a feature, or `score`.
            distance: the one measured, whose `chance` accounts for rows and bins.
            age: of the reference in months; beyond the table, the oldest entry is used.

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
    """Read this deployment's thresholds: calibrated, else simulated for this business, else provisional."""
    simulated = simulated_thresholds()
    return replace(simulated, turnover={**simulated.turnover, **_calibrated()})


def simulated_thresholds(contract: str = CONTRACT.name) -> Thresholds:
    """Read the committed table, which has column by column turnover for the simulated business alone.

    Args:
        contract: the name of the business; any but the simulated one gets provisional thresholds.
    """
    table = _committed()
    return Thresholds(
        table["share"],
        table["sampling"],
        table["turnover"] if table["contract"] == contract else {},
        {**table["provisional"], SCORE: table["turnover"][SCORE]},
    )


def calibrated_path() -> Path:
    """Return the path of the thresholds that were derived from the deployment's own months."""
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
