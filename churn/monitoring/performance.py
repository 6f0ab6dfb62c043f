"""Performance of the served scores: estimated before labels mature, realised afterwards; and its alarms.

How it is estimated is `churn.evaluation.confidence`; which scores and labels are taken, `watch.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from churn.arrays import Bools, Floats, Labels
from churn.errors import ChurnError
from churn.evaluation.bootstrap import Interval, intervals, mean_interval
from churn.evaluation.confidence import METRICS, estimates, recalibration
from churn.evaluation.money import Campaign, contact_profit
from churn.model.rows import is_holdout
from churn.settings import GateSettings

UsersName = Literal["all", "hold-out"]
# No model was ever trained on these users.
JUDGES: UsersName = "hold-out"
# The most months that an estimate learns from.
EARLIER_MONTHS = 6
_BOOTSTRAPPED = tuple(name for name in METRICS if name != "profit")


@dataclass(frozen=True)
class Scores:
    """The scores of a month's users, as they were served; all arrays are in the same order, [N].

    `contacted` is whom the campaign contacts within its budget. Labels are 1 for those who left, and None
    before they mature.
    """

    user_ids: npt.NDArray[np.object_]
    probabilities: Floats
    contacted: Bools
    labels: Labels | None = None

    def of(self, chosen: Bools) -> "Scores":
        """Return the scores of some of the users."""
        labels = None if self.labels is None else self.labels[chosen]
        return Scores(
            self.user_ids[chosen], self.probabilities[chosen], self.contacted[chosen], labels
        )


@dataclass(frozen=True)
class Performance:
    """One figure of one set of users, estimated and realised; `alarm` says why it is alarming, if it is."""

    users: UsersName
    metric: str
    rows: int
    estimated: Interval
    realised: Interval | None = None
    alarm: str = ""

    @property
    def error(self) -> float | None:
        """By how much the estimate was too high; None before labels mature."""
        return self.estimated.estimate - self.realised.estimate if self.realised else None


def measure_performance(
    scores: Scores, campaign: Campaign, gate: GateSettings, earlier: Sequence[Scores] = ()
) -> list[Performance]:
    """Return every figure of all users and of those held out, realised where the scores have labels.

    Args:
        scores: those of the month.
        campaign: its terms.
        gate: confidence and resamples of the bounds, and the floor of the AUC.
        earlier: labelled scores of earlier months by the same release. From them, the estimate learns how
            the release's probabilities relate to what happens.

    Raises:
        ChurnError: there are no users, nobody is held out, or the labels are of one class.
    """
    held = is_holdout(scores.user_ids)
    if not held.any():
        raise ChurnError(f"none of {held.size} scored users is held out", where="performance")
    figures = []
    parts: dict[UsersName, Scores] = {"all": scores, JUDGES: scores.of(held)}
    before: dict[UsersName, list[Scores]] = {
        "all": list(earlier),
        JUDGES: [each.of(is_holdout(each.user_ids)) for each in earlier],
    }
    # The release was calibrated on training users of another month; this month's represent them.
    calibrated_on = scores.probabilities[~held]
    for name, part in parts.items():
        months = [(e.probabilities, e.labels) for e in before[name] if e.labels is not None]
        expected = estimates(
            part.probabilities, part.contacted, campaign,
            confidence=gate.confidence, draws=gate.resamples,
            recalibration=recalibration(calibrated_on, months),
        )  # fmt: skip
        came = _realised(part, campaign, gate)
        for metric in METRICS:
            each = Performance(name, metric, len(part.user_ids), expected[metric], came.get(metric))
            figures.append(replace(each, alarm=alarm_of(each, gate)))
    return figures


def alarm_of(figure: Performance, gate: GateSettings) -> str:
    """Return why a figure is alarming, or an empty text if it is not.

    Alarms are about the hold-out users' AUC and churn rate. The estimate's bounds come from labels drawn by
    the probabilities, the realised figure's from resampled users. There is more than noise only where the
    two intervals do not overlap, or where the AUC lies below its floor beyond chance.
    """
    if figure.users != JUDGES or figure.realised is None:
        return ""
    low, high = figure.realised.low, figure.realised.high
    seen = f"{figure.realised.estimate:.4f} [{low:.4f}, {high:.4f}]"
    expected = f"[{figure.estimated.low:.4f}, {figure.estimated.high:.4f}]"
    if figure.metric == "auc" and high < gate.auc_floor:
        return f"realised AUC {seen} lies below its floor {gate.auc_floor:g}"
    if figure.metric == "auc" and high < figure.estimated.low:
        return f"realised AUC {seen} lies below the estimate {expected}"
    if figure.metric == "churn_rate" and (
        high < figure.estimated.low or low > figure.estimated.high
    ):
        return f"realised churn rate {seen} is not the estimate {expected}"
    return ""


def _realised(part: Scores, campaign: Campaign, gate: GateSettings) -> dict[str, Interval]:
    if part.labels is None:
        return {}
    confidence, resamples = gate.confidence, gate.resamples
    figures = intervals(
        part.labels, part.probabilities, _BOOTSTRAPPED, confidence=confidence, resamples=resamples
    )
    earned = np.where(part.contacted, contact_profit(part.labels, campaign), 0.0)
    return figures | {"profit": mean_interval(earned, confidence=confidence, resamples=resamples)}
