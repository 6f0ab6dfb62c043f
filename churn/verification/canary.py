"""The canary: no model orders users better than the truth does, unless it was told something.

The pure judgement; where the truth comes from is oracle.py's. A leak makes a model beat the true
probabilities on users that it was never fitted on; nothing else does, but for luck.
"""

from dataclasses import dataclass

from churn.evaluation.bootstrap import Interval, intervals, paired_difference
from churn.evaluation.inputs import Floats, Labels

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
