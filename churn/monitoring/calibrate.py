"""Thresholds of drift from the deployment's own months: how far each column moved while nothing was wrong.

Distances are measured in `distance.py`, as for the months that are watched. `false_alarms.py` does the same
on simulated worlds. Whoever calibrates vouches for the months.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from churn.contract.in_force import CONTRACT, VIEWS
from churn.errors import ChurnError
from churn.files import write_text
from churn.lake.files import lake_file, lake_folder, months_of
from churn.model.rows import is_holdout, user_sample
from churn.monitoring.distance import KINDS, NUMBERS, Distance, binned, distances
from churn.monitoring.false_alarms import OLDEST
from churn.monitoring.thresholds import SCORE, calibrated_path, simulated_thresholds
from churn.months import Month
from churn.promotion.ledger import Release, entries, releases
from churn.promotion.registry import Registry, ReleaseRegistry
from churn.scoring.scores import active_users, features_of
from churn.settings import get_settings
from churn.training.dataset import read_training_set, training_set_path, with_every_feature

if TYPE_CHECKING:
    import pandas as pd

# Four months make three pairs of neighbours, and two pairs that are two months apart.
FEWEST_MONTHS = 4
# Above this many users in a month, a fixed sample of them is compared: by then, chance is small enough.
MOST_USERS = 50_000
# How many pairs of an age are needed before its distance is believed.
_PAIRS = 2

# A reference month, its age in months, and the distances by column.
Seen = tuple[Month, int, Mapping[str, Distance]]


@dataclass(frozen=True)
class CalibratedThresholds:
    """Thresholds as they were derived, and the months they were derived from.

    `turnover` is by column; its first entry is for a reference one month old. `uncalibrated` are the columns
    that too few months have, whose thresholds stay as they were.
    """

    months: list[Month]
    turnover: dict[str, list[float]]
    uncalibrated: list[str]


def calibrate(
    months: Sequence[Month] | None = None,
    without: Sequence[Month] = (),
    registry: Registry | None = None,
) -> CalibratedThresholds:
    """Derive the thresholds from the deployment's own months, and store them in the state folder.

    Every month is compared with every earlier one, column by column. A column's turnover at an age is the
    largest distance from any reference of that age, less chance. At ages beyond the history it grows as
    that of the column's kind does. Scores are compared for each release that was ever in force.

    Args:
        months: the months to compare; by default all that every feature view has in the lake.
        without: months to leave out because something happened in them that an alarm would be right about.
        registry: where releases come from; MLflow's by default.

    Raises:
        ChurnError: there are too few months.
    """
    chosen = sorted(set(months or _complete_months()) - set(without))
    if len(chosen) < FEWEST_MONTHS:
        raise ChurnError(
            f"{len(chosen)} months are too few: it takes {FEWEST_MONTHS} to see how far columns move",
            where="calibrate",
            remedy="calibrate when there are more; until then the provisional thresholds hold",
        )
    seen = [*_of_features(chosen), *_of_scores(chosen, registry or ReleaseRegistry())]
    turnover = turnover_of(seen)
    columns = [*NUMBERS, SCORE]
    calibration = CalibratedThresholds(
        chosen, turnover, [column for column in columns if column not in turnover]
    )
    _keep(calibration)
    return calibration


def turnover_of(seen: Sequence[Seen]) -> dict[str, list[float]]:
    """Return, per column and age, the largest distance from any reference, less chance."""
    of: dict[str, dict[int, list[float]]] = {}
    for _, age, by_column in seen:
        for column, distance in by_column.items():
            without_chance = np.sqrt(max(distance.value**2 - distance.chance**2, 0.0))
            of.setdefault(column, {}).setdefault(age, []).append(float(without_chance))
    turnover_by_column = {}
    for column, by_age in sorted(of.items()):
        believed = {age: max(values) for age, values in by_age.items() if len(values) >= _PAIRS}
        if believed:
            turnover_by_column[column] = _continued(column, believed)
    return turnover_by_column


def _continued(column: str, believed: Mapping[int, float]) -> list[float]:
    """Return the turnover of every age up to OLDEST; ages not seen grow as the column's kind does."""
    shape = simulated_thresholds().provisional[KINDS.get(column, SCORE)]
    values: list[float] = []
    for age in range(1, OLDEST + 1):
        before = values[-1] if values else 0.0
        if age in believed:
            value = believed[age]
        elif age == 1:
            # There are gaps between the months, and too few of them are neighbours.
            value = min(believed.values())
        else:
            value = before * shape[age - 1] / shape[age - 2]
        # An older reference is never stricter than a newer one.
        values.append(round(max(before, value), 4))
    return values


def _complete_months() -> list[Month]:
    """Return the months of which every view is in the lake."""
    lake = get_settings().lake
    folders = [months_of(lake_folder(view, lake)) for view in VIEWS if not view.table.optional]
    return sorted(set.intersection(*map(set, folders))) if folders else []


def _of_features(months: Sequence[Month]) -> Iterator[Seen]:
    frames = {month: _frame(month) for month in months}
    for reference, current in _pairs(months):
        before, after = frames[reference], frames[current]
        # A column without a value in a month was not delivered then, or was not a feature yet.
        names = [n for n in NUMBERS if before[n].notna().any() and after[n].notna().any()]
        numbers = {name: NUMBERS[name] for name in names}
        yield reference, current - reference, distances(*binned(before, after, numbers))


def _of_scores(months: Sequence[Month], registry: Registry) -> Iterator[Seen]:
    import pandas as pd

    for release in _once_in_force():
        if not training_set_path(release.month).exists():
            continue
        rows = read_training_set(release.month).rows
        held = rows.filter(pa.array(is_holdout(rows["user_id"].to_pylist())))
        held = with_every_feature(held)
        try:
            before = pd.DataFrame({SCORE: registry.probabilities(release, held)})
        except ChurnError:
            # The release was deleted in MLflow. The others are enough.
            continue
        for month in months:
            if 0 < month - release.month <= OLDEST:
                after = pd.DataFrame({SCORE: _scores(month, release, registry)})
                distance_by_column = distances(*binned(before, after, {SCORE: True}))
                yield release.month, month - release.month, distance_by_column


def _once_in_force() -> list[Release]:
    kept = releases()
    named = dict.fromkeys(entry.release_id for entry in entries() if entry.release_id)
    return [kept[release_id] for release_id in named]


def _scores(month: Month, release: Release, registry: Registry) -> "np.typing.NDArray[np.float64]":
    users = active_users(month)
    held = users.filter(pa.array(is_holdout(users.to_pylist())))
    return registry.probabilities(
        release, features_of(month, registry.service(release).views, held)
    )


def _frame(month: Month) -> "pd.DataFrame":
    users = active_users(month)
    sample = users.filter(pa.array(user_sample(users.to_numpy(zero_copy_only=False), MOST_USERS)))
    views = [view for view in VIEWS if lake_file(view, month).exists()]
    frame: pd.DataFrame = features_of(month, views, sample).to_pandas()
    return frame.reindex(columns=list(NUMBERS))


def _pairs(months: Sequence[Month]) -> Iterator[tuple[Month, Month]]:
    for reference in months:
        for current in months:
            if 0 < current - reference <= OLDEST:
                yield reference, current


def _keep(calibration: CalibratedThresholds) -> None:
    path = calibrated_path()
    content = {
        "made_by": "churn contract calibrate",
        "contract": CONTRACT.fingerprint,
        "months": [str(month) for month in calibration.months],
        "turnover": calibration.turnover,
    }
    write_text(path, json.dumps(content, indent=1) + "\n")
