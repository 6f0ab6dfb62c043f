"""Performance of the served scores: estimated before labels, realised once they mature, and the alarm."""

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
JUDGES: UsersName = "hold-out"  # nobody among them was trained on in any month
EARLIER_MONTHS = 6  # that an estimate learns from, at most
_BOOTSTRAPPED = tuple(name for name in METRICS if name != "profit")


@dataclass(frozen=True)
class Scores:
    """The scores of a month's users, as they were served; arrays in one order of users."""

    user_ids: npt.NDArray[np.object_]
    probabilities: Floats
    contacted: Bools  # whom the campaign contacts within its budget
    labels: Labels | None = None  # 1 for those who left; None before they mature

    def of(self, chosen: Bools) -> "Scores":
        """Return the scores of some of the users."""
        labels = None if self.labels is None else self.labels[chosen]
        return Scores(
            self.user_ids[chosen], self.probabilities[chosen], self.contacted[chosen], labels
        )


@dataclass(frozen=True)
class Performance:
    """One figure of one set of users: what was to be expected, and what came."""

    users: UsersName
    metric: str
    rows: int
    estimated: Interval
    realised: Interval | None = None
    alarm: str = ""  # why it is one; empty: none

    @property
    def error(self) -> float | None:
        """By how much the estimate was too high."""
        return self.estimated.estimate - self.realised.estimate if self.realised else None


def measure_performance(
    scores: Scores, campaign: Campaign, gate: GateSettings, earlier: Sequence[Scores] = ()
) -> list[Performance]:
    """Return every figure of all users and of those held out; realised ones where labels are there.

    Args:
        scores: of the month.
        campaign: its terms.
        gate: confidence and resamples of the bounds, and the floor of the AUC.
        earlier: of months before, by the same release, with labels: the estimate learns from them how the
            release's probabilities have held.

    Raises:
        ChurnError: there are no users, nobody is held out, or the labels are of one class.
    """
    held = is_holdout(scores.user_ids)
    if not held.any():
        raise ChurnError(f"none of {held.size} scored users is held out", where="performance")
    found = []
    parts: dict[UsersName, Scores] = {"all": scores, JUDGES: scores.of(held)}
    before: dict[UsersName, list[Scores]] = {
        "all": list(earlier),
        JUDGES: [each.of(is_holdout(each.user_ids)) for each in earlier],
    }
    # The training users of one month calibrate; those of this one stand for them.
    calibrated_on = scores.probabilities[~held]
    for name, part in parts.items():
        months = [(e.probabilities, e.labels) for e in before[name] if e.labels is not None]
        said = estimates(
            part.probabilities, part.contacted, campaign,
            confidence=gate.confidence, draws=gate.resamples,
            recalibration=recalibration(calibrated_on, months),
        )  # fmt: skip
        came = _realised(part, campaign, gate)
        for metric in METRICS:
            each = Performance(name, metric, len(part.user_ids), said[metric], came.get(metric))
            found.append(replace(each, alarm=alarm_of(each, gate)))
    return found


def alarm_of(said: Performance, gate: GateSettings) -> str:
    """Return why a figure is alarming; empty where it is not.

    Alarms are about the hold-out users' AUC and churn rate. Estimate and realised figure each have
    bounds: of labels drawn from the probabilities, and of users drawn again. Only where the two are
    apart altogether, or the AUC lies below its floor beyond chance, is there more than noise.
    """
    if said.users != JUDGES or said.realised is None:
        return ""
    low, high = said.realised.low, said.realised.high
    seen = f"{said.realised.estimate:.4f} [{low:.4f}, {high:.4f}]"
    expected = f"[{said.estimated.low:.4f}, {said.estimated.high:.4f}]"
    if said.metric == "auc" and high < gate.auc_floor:
        return f"realised AUC {seen} lies below its floor {gate.auc_floor:g}"
    if said.metric == "auc" and high < said.estimated.low:
        return f"realised AUC {seen} lies below the estimate {expected}"
    if said.metric == "churn_rate" and (high < said.estimated.low or low > said.estimated.high):
        return f"realised churn rate {seen} is not the estimate {expected}"
    return ""


def _realised(part: Scores, campaign: Campaign, gate: GateSettings) -> dict[str, Interval]:
    if part.labels is None:
        return {}
    confidence, resamples = gate.confidence, gate.resamples
    found = intervals(
        part.labels, part.probabilities, _BOOTSTRAPPED, confidence=confidence, resamples=resamples
    )
    earned = np.where(part.contacted, contact_profit(part.labels, campaign), 0.0)
    return found | {"profit": mean_interval(earned, confidence=confidence, resamples=resamples)}
