"""The canary: no model orders users better than the truth does, unless it was told something.

A leak makes a model beat the true probabilities on users that it was never fitted on; nothing else does,
but for luck. The truth is what the simulator wrote beside its drops; where there is none, the search says
so. No model and no feature may read it: what is here judges models, after they are fitted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from churn.arrays import Bools, Floats, Labels
from churn.evaluation.bootstrap import Interval, intervals, paired_difference
from churn.model.fitted import Fitted
from churn.months import Month
from churn.settings import get_settings

if TYPE_CHECKING:
    import pandas as pd


# One-sided: of models that are as good as the truth itself, one in a thousand would be suspected by
# luck, and every real model is somewhat worse than that. A dozen models over years stay unsuspected.
CONFIDENCE = 0.999
RESAMPLES = 4_000  # of which four lie below the bound


@dataclass(frozen=True)
class Verdict:
    """One model against the truth, on the same users."""

    users: int
    model_auc: float
    truth_auc: float
    difference: Interval  # model less truth; `low` is the bound that decides

    @property
    def is_leak(self) -> bool:
        """The whole interval lies above 0: the model knows what nobody could have known."""
        return self.difference.low > 0

    def __str__(self) -> str:
        """Say the figures in a line."""
        said = "knows more than the truth: a leak" if self.is_leak else "no leak"
        return (
            f"AUC {self.model_auc:.4f}, the truth's {self.truth_auc:.4f}, difference"
            f" {self.difference.estimate:+.4f}, above {self.difference.low:+.4f}: {said}"
        )


def judge(
    labels: Labels,
    probabilities: Floats,
    truth: Floats,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Verdict:
    """Hold a model's AUC against the truth's, by a paired bootstrap over the users.

    Args:
        labels: 1 for those who left, of users that the model was not fitted on.
        probabilities: the model's, of leaving.
        truth: the probabilities that the labels were drawn from, of the same users.
        confidence: one-sided, of the bound that the difference lies above.
        resamples: how many times the users are drawn again.
        seed: of the draws.

    Raises:
        ChurnError: nothing can be said of these users: none, of one class, or a NaN among them.
    """
    both_sides = 2 * confidence - 1
    difference = paired_difference(
        labels, probabilities, truth, "auc",
        confidence=both_sides, resamples=resamples, seed=seed,
    )  # fmt: skip
    truth_auc = intervals(labels, truth, ("auc",), resamples=1)["auc"].estimate
    return Verdict(len(labels), truth_auc + difference.estimate, truth_auc, difference)


MOST_UNLIKE = (
    0.01  # share of users that a correction may have moved; more is another world's oracle
)


@dataclass(frozen=True)
class Truth:
    """True probabilities of leaving for some of the asked users, or the reason why there are none."""

    probabilities: Floats
    known: Bools  # which of the asked users they are of, in their order
    why_not: str = ""


def read_truth(month: Month, user_ids: npt.NDArray[np.str_], labels: Labels) -> Truth:
    """Look the users of a month up in the oracle of CHURN_ORACLE.

    Args:
        month: the label period.
        user_ids: the users who are asked for.
        labels: 1 for those who left, as the training set says: they tell whether the oracle is of
            the same world.
    """
    settings = get_settings()
    if settings.oracle is None:
        return _none("CHURN_ORACLE is not set: nobody knows the truth of these data")
    if month == settings.first_month:
        return _none("the labels of month_000 are the benchmark's own, drawn by nobody")
    path = settings.oracle / f"{month.folder(settings.first_month)}.parquet"
    if not path.is_file():
        return _none(f"the oracle has no {path.name}")
    import pandas as pd

    return _matched(pd.read_parquet(path), user_ids, labels)


def _matched(oracle: "pd.DataFrame", user_ids: npt.NDArray[np.str_], labels: Labels) -> Truth:
    rows = oracle.set_index("user_id").reindex(user_ids)
    known = rows["churn_probability"].notna().to_numpy(np.bool_)
    strangers = len(known) - int(known.sum())
    if strangers > MOST_UNLIKE * len(known):
        return _none(f"{strangers} of {len(known)} users are not in the oracle")
    rows = rows[known]
    unlike = int((rows["churn_label"].to_numpy(np.int64) != labels[known]).sum())
    if unlike > MOST_UNLIKE * len(rows):
        return _none(f"{unlike} of {len(rows)} labels are not the oracle's: it is of another world")
    return Truth(rows["churn_probability"].to_numpy(np.float64), known)


def _none(why: str) -> Truth:
    return Truth(np.empty(0), np.empty(0, dtype=np.bool_), why)


@dataclass(frozen=True)
class LeakSearch:
    """A verdict per model; or none, and the reason why the question does not apply."""

    verdicts: dict[str, Verdict] = field(default_factory=dict)
    why_not: str = ""

    @property
    def leaks(self) -> list[str]:
        """The models that know what nobody could have known."""
        return [name for name, verdict in self.verdicts.items() if verdict.is_leak]

    @property
    def summary(self) -> str:
        """A line per model, or why there is none."""
        if self.why_not:
            return f"not applicable: {self.why_not}"
        return "\n".join(f"{name}: {verdict}" for name, verdict in self.verdicts.items())


def look_for_leaks(month: Month, models: Mapping[str, Fitted]) -> LeakSearch:
    """Judge each model on its hold-out users against their true probabilities.

    Args:
        month: the label period that the models were fitted on.
        models: by the name that the verdict is to bear.

    Raises:
        ChurnError: the users known to the oracle are of one class.
    """
    verdicts = {}
    for name, fitted in models.items():
        users = fitted.holdout.index.to_numpy(str)
        truth = read_truth(month, users, fitted.labels)
        if truth.why_not:
            return LeakSearch(why_not=truth.why_not)
        of = fitted.labels[truth.known], fitted.probabilities[truth.known]
        verdicts[name] = judge(*of, truth.probabilities)
    return LeakSearch(verdicts)
