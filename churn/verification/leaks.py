"""The search for leaks: no model ranks users better than the truth does, unless it knows too much.

Apart from luck, only a leak lets a model beat the true probabilities on users that it was never fitted on.
The truth is what the simulator wrote beside its drops; without it, the search says so. No model and no
feature may read the truth: it is only used here, after models are fitted.
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


# One-sided: of models as good as the truth itself, one in a thousand would be suspected by chance, and every
# real model is somewhat worse than that. A dozen models stay unsuspected over years.
CONFIDENCE = 0.999
# Four of them lie below the bound.
RESAMPLES = 4_000


@dataclass(frozen=True)
class LeakVerdict:
    """One model compared with the truth on the same users.

    `difference` is the model's AUC less the truth's; its lower bound decides.
    """

    users: int
    model_auc: float
    truth_auc: float
    difference: Interval

    @property
    def is_leak(self) -> bool:
        """Whether the model knows what nobody could have known: the whole interval lies above 0."""
        return self.difference.low > 0

    def __str__(self) -> str:
        """Return the figures in a line."""
        conclusion = "knows more than the truth: a leak" if self.is_leak else "no leak"
        return (
            f"AUC {self.model_auc:.4f}, the truth's {self.truth_auc:.4f}, difference"
            f" {self.difference.estimate:+.4f}, above {self.difference.low:+.4f}: {conclusion}"
        )


def judge(
    labels: Labels,
    probabilities: Floats,
    truth: Floats,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> LeakVerdict:
    """Compare a model's AUC with the truth's, by a paired bootstrap over the users.

    Args:
        labels: 1 for those who left, of users that the model was not fitted on, [N].
        probabilities: the model's, of leaving, [N].
        truth: the probabilities that the labels were drawn from, of the same users, [N].
        confidence: of the lower bound, one-sided, between 0 and 1.
        resamples: how many times the users are drawn.
        seed: of the draws.

    Raises:
        ChurnError: these users cannot be judged: there are none, all are of one class, or a probability
            is NaN.
    """
    both_sides = 2 * confidence - 1
    difference = paired_difference(
        labels, probabilities, truth, "auc",
        confidence=both_sides, resamples=resamples, seed=seed,
    )  # fmt: skip
    truth_auc = intervals(labels, truth, ("auc",), resamples=1)["auc"].estimate
    return LeakVerdict(len(labels), truth_auc + difference.estimate, truth_auc, difference)


# A correction may have changed this share of users. If more differ, the oracle is that of another world.
MOST_UNLIKE = 0.01


@dataclass(frozen=True)
class Truth:
    """True probabilities of leaving for some of the requested users, or the reason why there are none.

    `known` marks, among the requested users in their order, those whose probabilities these are.
    """

    probabilities: Floats
    known: Bools
    why_not: str = ""


def read_truth(month: Month, user_ids: npt.NDArray[np.str_], labels: Labels) -> Truth:
    """Look up the users of a month in the oracle of CHURN_ORACLE.

    Args:
        month: the label period.
        user_ids: the requested users.
        labels: 1 for those who left, from the training set; they show whether the oracle is that of the
            same world.
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
    """A verdict per model, or the reason why the question does not apply."""

    verdicts: dict[str, LeakVerdict] = field(default_factory=dict)
    why_not: str = ""

    @property
    def leaks(self) -> list[str]:
        """The models that know what nobody could have known."""
        return [name for name, verdict in self.verdicts.items() if verdict.is_leak]

    @property
    def summary(self) -> str:
        """A line per model, or the reason why there is none."""
        if self.why_not:
            return f"not applicable: {self.why_not}"
        return "\n".join(f"{name}: {verdict}" for name, verdict in self.verdicts.items())


def look_for_leaks(month: Month, models: Mapping[str, Fitted]) -> LeakSearch:
    """Compare each model with the true probabilities of its hold-out users.

    Args:
        month: the label period that the models were fitted on.
        models: the models by the names that their verdicts will have.

    Raises:
        ChurnError: the users whom the oracle knows are of one class.
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
