"""How the thresholds of drift are derived: distances are measured in simulated worlds where nothing changes.

`python -m churn.monitoring.false_alarms` writes thresholds.json anew (about ten minutes). What a deployment
derives from its own months is `calibrate.py`.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from churn.arrays import Bools, Floats, Labels
from churn.contract.in_force import CONTRACT, DEFAULT_SERVICE, VIEWS
from churn.model.kinds import LOGISTIC, Kind
from churn.model.rows import is_holdout
from churn.monitoring.distance import KINDS, NUMBERS, Distance, binned, distances
from churn.monitoring.thresholds import SCORE, TABLE
from churn.months import Month

if TYPE_CHECKING:
    import pandas as pd

    from churn.population.scenario import Scenario


FIRST = Month.parse("2024-01")


@dataclass(frozen=True)
class SeenMonth:
    """One month as monitoring sees it: user_id and every feature of its users, and who left."""

    frame: "pd.DataFrame"
    labels: Labels

    @property
    def held(self) -> Bools:
        """Which users are held out."""
        return is_holdout(self.frame["user_id"].to_numpy())


def play_months(
    months: int, users: int, seed: int, scenario: "Scenario | None" = None
) -> Iterator[SeenMonth]:
    """Yield the months of a simulated world, in which nothing goes wrong unless there is a scenario."""
    import pandas as pd

    from churn.population.simulate import play

    for played in play(first=FIRST, months=months, users=users, seed=seed, scenario=scenario):
        columns: dict[str, Any] = {"user_id": played.oracle["user_id"].astype(object).to_numpy()}
        for view in VIEWS:
            rows = played.tables[view.table.name].reset_index(drop=True)
            columns |= {feature.name: rows[feature.name] for feature in view.features}
        labels = played.oracle["churn_label"].to_numpy(dtype=np.int64)
        yield SeenMonth(pd.DataFrame(columns), labels)


@dataclass(frozen=True)
class Model:
    """What a release would be in a clean world: a challenger, fitted and calibrated as usual."""

    kind: Kind
    pipeline: Any
    calibration: Any

    @classmethod
    def fit(cls, month: SeenMonth, kind: Kind = LOGISTIC) -> "Model":
        """Fit to the users of a month who are not held out; by default, the kind that wins most months."""
        from churn.model.arrays import fit_calibration
        from churn.model.candidates import out_of_fold
        from churn.model.rows import prepare

        rows = prepare(month.frame.assign(churn_label=month.labels), DEFAULT_SERVICE)
        parameters = kind.grid(len(rows.labels))[0]
        [raw] = out_of_fold(kind, rows, [parameters], folds=3)
        pipeline = kind.new_pipeline(rows, parameters).fit(rows.features, rows.labels)
        return cls(kind, pipeline, fit_calibration(raw, rows.labels))

    def probabilities(self, frame: "pd.DataFrame") -> Floats:
        """Score the rows of a month."""
        from churn.model.encode import model_frame

        raw = self.kind.log_odds(self.pipeline, model_frame(frame, DEFAULT_SERVICE))
        return np.asarray(self.calibration.probabilities(raw), dtype=np.float64)


def month_distances(
    reference: SeenMonth, current: SeenMonth, model: Model | None
) -> dict[str, Distance]:
    """Return the distance of every feature and, with a model, of the hold-out users' scores."""
    distance_by_column = distances(*binned(reference.frame, current.frame, NUMBERS))
    if model:
        import pandas as pd

        before, after = (
            pd.DataFrame({SCORE: model.probabilities(month.frame[month.held])})
            for month in (reference, current)
        )
        distance_by_column |= distances(*binned(before, after, {SCORE: True}))
    return distance_by_column


def clean_distances(
    world: Sequence[SeenMonth], references: Sequence[int], oldest: int
) -> Iterator[tuple[int, int, dict[str, Distance]]]:
    """Yield (number of the reference, its age, distances) for every later month up to age `oldest`."""
    for number in references:
        model = Model.fit(world[number])
        for age in range(1, min(oldest, len(world) - 1 - number) + 1):
            yield number, age, month_distances(world[number], world[number + age], model)


# The share of months in a clean world that may alarm, over all columns together.
SHARE = 0.01
# Turnover is derived for references of up to this age, in months.
OLDEST = 24
# The population of month_000 settles in its first months, so references are taken there and later.
REFERENCES = (0, 1, 3, 6)
# Pairs of users and seed. In large worlds, chance hardly adds to turnover.
_LARGE_WORLDS = ((30_000, 11), (30_000, 12))
_SMALL_WORLDS = tuple((users, seed) for users in (800, 2_000, 7_043) for seed in range(100, 125))

Seen = dict[str, Distance]


def turnover(seen: Iterable[tuple[int, int, Seen]], oldest: int = OLDEST) -> dict[str, list[float]]:
    """Return, per column and age, the largest distance from any reference, less chance."""
    of: dict[tuple[str, int, int], list[float]] = defaultdict(list)
    for reference, age, by_column in seen:
        for column, distance in by_column.items():
            without = max(distance.value**2 - distance.chance**2, 0.0)
            of[column, age, reference].append(without)
    largest: dict[str, list[float]] = {column: [0.0] * oldest for column, _, _ in of}
    for (column, age, _), squares in of.items():
        mean = float(np.sqrt(np.mean(squares)))
        largest[column][age - 1] = max(largest[column][age - 1], round(mean, 4))
    # An older reference is never stricter than a newer one.
    return {c: np.maximum.accumulate(values).tolist() for c, values in sorted(largest.items())}


def excess(by_column: Seen, moved: dict[str, list[float]], age: int) -> float:
    """Return the largest excess over turnover among a month's columns, in multiples of chance."""
    return max(
        (distance.value - moved[column][age - 1]) / distance.chance
        for column, distance in by_column.items()
        if distance.chance > 0
    )


def sampling(months: Sequence[float], share: float = SHARE) -> float:
    """Return the multiple of chance that this share of clean months exceeds."""
    return round(float(np.quantile(months, 1 - share)), 3)


def derive() -> dict[str, object]:
    """Simulate the worlds, and return the content of thresholds.json."""
    large = (
        each
        for users, seed in _LARGE_WORLDS
        for each in clean_distances(
            list(play_months(OLDEST + max(REFERENCES) + 1, users, seed)), REFERENCES, OLDEST
        )
    )
    moved = turnover(large)
    by_size: dict[int, list[float]] = defaultdict(list)
    for users, seed in _SMALL_WORLDS:
        world = list(play_months(13, users, seed))
        for _, age, by_column in clean_distances(world, REFERENCES, 12):
            by_size[users].append(excess(by_column, moved, age))
    multiples = {users: sampling(months) for users, months in by_size.items()}
    return {
        "made_by": "python -m churn.monitoring.false_alarms",
        "share": SHARE,
        "sampling": max(multiples.values()),
        "sampling_by_users": multiples,
        "clean_months": {users: len(months) for users, months in by_size.items()},
        "contract": CONTRACT.name,
        "provisional": liveliest(moved),
        "turnover": moved,
    }


def liveliest(moved: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """Return, per kind of column and age, the largest turnover; it is used for columns not simulated."""
    of: dict[str, list[Sequence[float]]] = defaultdict(list)
    for column, ages in moved.items():
        if column in KINDS:
            of[KINDS[column]].append(ages)
    return {kind: np.max(columns, axis=0).tolist() for kind, columns in sorted(of.items())}


def main() -> None:
    """Write the table beside this module, or where `--out` says."""
    parser = argparse.ArgumentParser(
        description="Derive the thresholds of drift from clean worlds."
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name(TABLE))
    out: Path = parser.parse_args().out
    out.write_text(_text(derive()), encoding="utf-8")


def _text(table: dict[str, object]) -> str:
    """Return the table as JSON, with one line per column and kind."""
    lines = []
    for key, value in table.items():
        if isinstance(value, dict) and key in ("provisional", "turnover"):
            rows = [f"    {json.dumps(c)}: {json.dumps(values)}" for c, values in value.items()]
            lines.append(f'  "{key}": {{\n' + ",\n".join(rows) + "\n  }")
        else:
            lines.append(f"  {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    main()
