"""Drift: how far a month is from what the release in force was trained on, column by column."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from churn.monitoring.bins import NUMBERS, binned
from churn.monitoring.statistic import distances
from churn.monitoring.thresholds import SCORE, Thresholds, read_thresholds
from churn.months import Month

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Window:
    """One side of the comparison: a month's users, and the scores of those held out.

    A model's scores of the very users that it was fitted on are others than its scores of strangers,
    drift or no drift; so scores are compared on users whom no model was fitted on.
    """

    month: Month
    features: "pd.DataFrame"  # one column per feature that both months have, raw
    scores: "pd.Series[float]"  # probabilities of the hold-out users


@dataclass(frozen=True)
class ColumnDrift:
    """One feature, or the score: its distance from the reference."""

    feature: str
    reference_rows: int
    rows: int
    distance: float
    threshold: float
    is_provisional: bool = False  # the threshold is of the column's kind, not yet of itself

    @property
    def is_drifted(self) -> bool:
        """The distance is more than turnover and chance make of it in a clean world."""
        return self.distance > self.threshold


@dataclass(frozen=True)
class Drift:
    """A month held against the reference; both in the reference's bins."""

    month: Month
    reference: Month
    columns: list[ColumnDrift]
    before: dict[str, "pd.DataFrame"]  # features and score, which have rows of their own
    after: dict[str, "pd.DataFrame"]

    @property
    def provisional(self) -> list[str]:
        """The columns whose threshold is their kind's, until this deployment's months are calibrated on."""
        return [column.feature for column in self.columns if column.is_provisional]

    @property
    def drifted(self) -> list[ColumnDrift]:
        """The columns over their threshold, the farthest over it first."""
        over = [column for column in self.columns if column.is_drifted]
        return sorted(over, key=lambda column: column.threshold - column.distance)


def compare(reference: Window, current: Window, thresholds: Thresholds | None = None) -> Drift:
    """Compare a month with a release's training window.

    Args:
        reference: the training window.
        current: a later month.
        thresholds: other ones than hold for this deployment.

    Raises:
        ChurnError: the month is not later than the reference.
    """
    import pandas as pd

    chosen = thresholds or read_thresholds()
    age = current.month - reference.month
    before, after = {}, {}
    numbers = {name: NUMBERS[name] for name in reference.features.columns}
    before["features"], after["features"] = binned(reference.features, current.features, numbers)
    scores = [pd.DataFrame({SCORE: window.scores}) for window in (reference, current)]
    before[SCORE], after[SCORE] = binned(scores[0], scores[1], {SCORE: True})
    columns = [
        ColumnDrift(
            name, len(before[part]), len(after[part]), found.value, *chosen.of(name, found, age)
        )
        for part in before
        for name, found in distances(before[part], after[part]).items()
    ]
    return Drift(current.month, reference.month, columns, before, after)
