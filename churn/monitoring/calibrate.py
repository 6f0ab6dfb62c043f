"""Thresholds of drift from the deployment's own months: how far each column moved while nothing was wrong.

How far two months are apart is decided in `bins` and `statistic`, as for the months that are watched;
`false_alarms` does the same on simulated worlds. Whoever calibrates vouches for the months.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from churn.contract.in_force import CONTRACT, VIEWS
from churn.errors import ChurnError
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

# Three pairs of neighbours, and two of months that are two apart.
FEWEST_MONTHS = 4
# Above this many users of a month, a fixed sample of them is compared: chance is small enough by then.
MOST_USERS = 50_000
# How often an age must have been seen before it is believed.
_PAIRS = 2

Seen = tuple[
    Month, int, Mapping[str, Distance]
]  # a reference, its age in months, distances by column


@dataclass(frozen=True)
class Calibration:
    """Thresholds as they were derived: from which months, and of which columns."""

    months: list[Month]
    turnover: dict[str, list[float]]  # by column; the first entry is of a reference one month old
    uncalibrated: list[str]  # columns that too few months have: their thresholds are as before


def calibrate(
    months: Sequence[Month] | None = None,
    without: Sequence[Month] = (),
    registry: Registry | None = None,
) -> Calibration:
    """Derive the thresholds from the deployment's own months, and keep them in the state folder.

    Every month is held against every earlier one, column by column; a column's turnover at an age is the
    farthest that any reference saw, chance taken off. Ages beyond the history grow as those of the column's
    kind do. Scores are looked at with each release that was ever in force.

    Args:
        months: to look at; all that every feature view has in the lake, unless they are given.
        without: months that were not quiet: something happened in them that an alarm would be right about.
        registry: MLflow's, unless a test brings its own.

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
    calibration = Calibration(
        chosen, turnover, [column for column in columns if column not in turnover]
    )
    _keep(calibration)
    return calibration


def turnover_of(seen: Sequence[Seen]) -> dict[str, list[float]]:
    """Return per column and age the farthest that any reference saw, chance taken off."""
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
    """Return every age up to the oldest; what was not seen grows as the columns of its kind do."""
    shape = simulated_thresholds().provisional[KINDS.get(column, SCORE)]
    values: list[float] = []
    for age in range(1, OLDEST + 1):
        before = values[-1] if values else 0.0
        if age in believed:
            value = believed[age]
        elif age == 1:  # a hole among the months: no two are neighbours
            value = min(believed.values())
        else:
            value = before * shape[age - 1] / shape[age - 2]
        values.append(round(max(before, value), 4))  # an older reference is never the stricter one
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
        # What a month has no value of was not delivered then, or was no feature yet.
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
            # The release was deleted in MLflow: the others say enough.
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


def _keep(calibration: Calibration) -> None:
    path = calibrated_path()
    content = {
        "made_by": "churn contract calibrate",
        "contract": CONTRACT.fingerprint,
        "months": [str(month) for month in calibration.months],
        "turnover": calibration.turnover,
    }
    half = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    half.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    half.replace(path)
