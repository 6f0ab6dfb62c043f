"""Clean worlds: months of the simulated population in the shape that monitoring sees. No figures here."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from churn.contract.features import DEFAULT_SERVICE, VIEWS
from churn.model.kinds import LOGISTIC, Kind
from churn.model.split import is_holdout
from churn.monitoring.bins import NUMBERS, binned
from churn.monitoring.statistic import Distance, distances
from churn.monitoring.thresholds import SCORE
from churn.months import Month

if TYPE_CHECKING:
    import pandas as pd

    from churn.population.scenario import Scenario

FIRST = Month.parse("2024-01")


@dataclass(frozen=True)
class SeenMonth:
    """One month as monitoring sees it: who was there with which features, and who left."""

    frame: "pd.DataFrame"  # user_id and every feature
    labels: npt.NDArray[np.int64]

    @property
    def held(self) -> npt.NDArray[np.bool_]:
        """Who is held out."""
        return is_holdout(self.frame["user_id"].to_numpy())


def play_months(
    months: int, users: int, seed: int, scenario: "Scenario | None" = None
) -> Iterator[SeenMonth]:
    """Play a world, clean unless there is a scenario."""
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
    """What a release is in a clean world: the usual challenger, fitted and calibrated as it would be."""

    kind: Kind
    pipeline: Any
    calibration: Any

    @classmethod
    def fit(cls, month: SeenMonth, kind: Kind = LOGISTIC) -> "Model":
        """Fit to the users of a month who are not held out; the kind that wins most months, unless said."""
        from churn.model.calibration import fit_calibration
        from churn.model.candidates import out_of_fold
        from churn.model.rows import prepare

        rows = prepare(month.frame.assign(churn_label=month.labels), DEFAULT_SERVICE)
        parameters = kind.grid(len(rows.labels))[0]
        [raw] = out_of_fold(kind, rows, [parameters], folds=3)
        pipeline = kind.new_pipeline(rows, parameters).fit(rows.features, rows.labels)
        return cls(kind, pipeline, fit_calibration(raw, rows.labels))

    def probabilities(self, frame: "pd.DataFrame") -> npt.NDArray[np.float64]:
        """Score the rows of a month."""
        from churn.model.encode import model_frame

        raw = self.kind.log_odds(self.pipeline, model_frame(frame, DEFAULT_SERVICE))
        return np.asarray(self.calibration.probabilities(raw), dtype=np.float64)


def month_distances(
    reference: SeenMonth, current: SeenMonth, model: Model | None
) -> dict[str, Distance]:
    """Return the distance of every feature, and with a model of the hold-out users' scores."""
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
    """Yield (number of the reference, its age, distances) for every later month up to `oldest`."""
    for number in references:
        model = Model.fit(world[number])
        for age in range(1, min(oldest, len(world) - 1 - number) + 1):
            yield number, age, month_distances(world[number], world[number + age], model)
