"""Why a user is at risk by the champion: its explainer, opened at the first request."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from api.schemas import FeatureValue, ReasonOut
from churn.contract.structure import Service

if TYPE_CHECKING:
    from churn.scoring.reasons import Explaining, Reason


def shortest_float32(value: float) -> float:
    """Return the number with the shortest text that reads back as this float32, such as 29.85."""
    import numpy as np

    return float(str(np.float32(value)))


@dataclass(frozen=True)
class Explained:
    """A user's score, the mean score `base` that it starts from, and the strongest reasons, all in `unit`."""

    score: float
    base: float
    unit: Literal["log_odds", "share_of_votes"]
    reasons: list[ReasonOut]


class Explanations:
    """One version's explainer, fetched and verified with its model.

    The libraries that read it take seconds to import. Neither the start of the API nor a new champion waits
    for them, only the first request does, in its own thread.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._lock = threading.Lock()
        self._opened: Explaining | None = None

    def explain(self, values: Mapping[str, Any], service: Service, top: int) -> Explained:
        """Return what moves a user's score most, the strongest reason first."""
        from churn.model.encode import onnx_inputs_of_rows

        explaining = self._open()
        inputs = onnx_inputs_of_rows([values], explaining.explainer)
        contributions = explaining.contributions(inputs)
        [reasons] = explaining.reasons(inputs, top=top, raising=False)
        return Explained(
            score=shortest_float32(float(contributions.values.sum()) + contributions.base),
            base=shortest_float32(contributions.base),
            unit="share_of_votes" if explaining.explainer.is_share else "log_odds",
            reasons=[_shown(each, values, service) for each in reasons],
        )

    def _open(self) -> "Explaining":
        with self._lock:
            if self._opened is None:
                from churn.model.fitted import Explainer
                from churn.scoring.reasons import Explaining

                self._opened = Explaining(Explainer.read(self._content))
            return self._opened


def _shown(reason: "Reason", values: Mapping[str, Any], service: Service) -> ReasonOut:
    python = next(f.type.python for f in service.features if f.name == reason.feature)
    usual: FeatureValue = reason.usual
    # A mean of whole numbers, or of True and False, may lie between them.
    if usual is not None and python in (bool, int):
        usual = python(usual) if float(usual).is_integer() else usual
    return ReasonOut(
        feature=reason.feature,
        value=values[reason.feature],
        usual=usual,
        contribution=shortest_float32(reason.contribution),
        words=reason.words,
    )
