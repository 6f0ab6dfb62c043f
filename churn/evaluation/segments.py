"""Figures by segment of the contract: where a model is good, and where it must not be relied on."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from churn.arrays import Floats, Labels
from churn.contract.in_force import CONTRACT
from churn.evaluation.bootstrap import Interval, intervals
from churn.evaluation.metrics import require_judgeable

if TYPE_CHECKING:
    import pandas as pd

# With fewer users in a segment, or in one of its two classes, an AUC says nothing.
LEAST_USERS = 50
LEAST_OF_A_CLASS = 10


@dataclass(frozen=True)
class SegmentFigures:
    """A model's figures on the users of one level of a segment; there is no AUC where they are too few."""

    segment: str
    level: str
    users: int
    churn_rate: float
    mean_probability: float
    f1: float
    auc: Interval | None


def by_segment(
    features: "pd.DataFrame",
    labels: Labels,
    probabilities: Floats,
    threshold: float,
    *,
    resamples: int = 200,
) -> list[SegmentFigures]:
    """Return the figures of each level of each segment whose column is among the features.

    Args:
        features: one row per user, in the order of `labels`; segments without a column are left out.
        labels: 1 for those who left, [N].
        probabilities: the model's, of leaving, [N].
        threshold: the probability from which on the model predicts 1.
        resamples: of the intervals.
    """
    require_judgeable(labels, probabilities)
    figures: list[SegmentFigures] = []
    for segment, levels in levels_of(features):
        for level in sorted(set(levels)):
            inside = levels == level
            figures.append(
                _figures(
                    segment, level, labels[inside], probabilities[inside], threshold, resamples
                )
            )
    return figures


def levels_of(
    features: "pd.DataFrame",
) -> Iterator[tuple[str, "np.ndarray[tuple[int], np.dtype[np.str_]]"]]:
    """Yield each segment of the contract that the features know, with the level that each user is in."""
    import pandas as pd

    for segment in CONTRACT.segments:
        if segment.column not in features:
            continue
        values = features[segment.column].astype(object)
        if segment.bands:
            edges = [-np.inf, *segment.bands, np.inf]
            numbers = features[segment.column].astype("float64")
            values = pd.cut(numbers, edges, labels=list(segment.band_names)).astype(object)
        yield segment.name, values.where(values.notna(), "unknown").to_numpy(str)


def _figures(
    segment: str,
    level: str,
    labels: Labels,
    probabilities: Floats,
    threshold: float,
    resamples: int,
) -> SegmentFigures:
    from sklearn.metrics import f1_score

    left = int(labels.sum())
    enough = len(labels) >= LEAST_USERS and min(left, len(labels) - left) >= LEAST_OF_A_CLASS
    return SegmentFigures(
        segment,
        level,
        len(labels),
        float(labels.mean()),
        float(probabilities.mean()),
        float(f1_score(labels, (probabilities >= threshold).astype(int), zero_division=0)),
        intervals(labels, probabilities, resamples=resamples)["auc"] if enough else None,
    )
