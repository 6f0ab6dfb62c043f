"""The canary held to a month's models: each one's hold-out users, looked up in the oracle and judged."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from churn.model.fitted import Fitted
from churn.months import Month
from churn.verification.canary import Verdict, judge
from churn.verification.oracle import read_truth


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
