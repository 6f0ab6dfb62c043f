"""The same figures by segment: where a model is good, and where it must not be relied on."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from churn.contract.in_force import CONTRACT
from churn.evaluation.bootstrap import Interval, intervals
from churn.evaluation.metrics import Floats, Labels, require_judgeable

if TYPE_CHECKING:
    import pandas as pd

LEAST_USERS = 50  # of the rarer class together with the other: below, an AUC says nothing
LEAST_OF_A_CLASS = 10


@dataclass(frozen=True)
class SegmentFigures:
    """What the users of one segment say of a model; no AUC where they are too few to say it."""

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
    """Return the figures of each level of each segment that the features know.

    Args:
        features: one row per user, in the order of `labels`; segments without a column are left out.
        labels: 1 for those who left.
        probabilities: the model's, of leaving.
        threshold: from which probability on the model says 1.
        resamples: of the intervals.
    """
    require_judgeable(labels, probabilities)
    found: list[SegmentFigures] = []
    for segment, levels in levels_of(features):
        for level in sorted(set(levels)):
            inside = levels == level
            found.append(
                _figures(
                    segment, level, labels[inside], probabilities[inside], threshold, resamples
                )
            )
    return found


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
