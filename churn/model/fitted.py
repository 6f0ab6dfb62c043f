"""A fitted model of any kind: what the hold-out says of it, and its form for export and explanation."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from churn.contract.features import Service
from churn.model.calibration import Calibration, log_odds_of
from churn.model.encode import THRESHOLD
from churn.model.rows import Rows

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["forest", "logistic", "boosting"]
MODEL_TYPES: dict[Kind, str] = {
    "forest": "RandomForestClassifier",
    "logistic": "LogisticRegression",
    "boosting": "HistGradientBoostingClassifier",
}
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Fitted:
    """A fitted model and what the hold-out says of it; rows are in the order of user_id."""

    kind: Kind
    data: Rows
    pipeline: Any
    probabilities: Floats  # of the hold-out
    metrics: dict[str, float]
    train_time_sec: float
    calibration: Calibration | None = None  # None: the contract's baseline, as it is
    threshold: float = THRESHOLD
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def service(self) -> Service:
        """The features that it takes."""
        return self.data.service

    @property
    def model_type(self) -> str:
        """The class of scikit-learn behind it."""
        return MODEL_TYPES[self.kind]

    @property
    def holdout(self) -> "pd.DataFrame":
        """Encoded features of those held out, indexed by user_id."""
        return self.data.holdout

    @property
    def rows(self) -> int:
        """Rows of the training set, hold-out included."""
        return self.data.total

    @property
    def training_rows(self) -> int:
        """Rows that it was fitted on: fewer than the rest above the sample limit."""
        return len(self.data.labels)

    @property
    def holdout_rows(self) -> int:
        """Rows held out."""
        return len(self.data.holdout_labels)

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """What those held out did."""
        return self.data.holdout_labels


def log_odds(kind: Kind, pipeline: Any, features: "pd.DataFrame") -> Floats:
    """Return a pipeline's own log odds of leaving, before calibration."""
    if kind == "forest":
        return log_odds_of(pipeline.predict_proba(features)[:, 1])
    return np.asarray(pipeline.decision_function(features), dtype=np.float64)


def to_onnx(fitted: Fitted) -> bytes:
    """Return the model as it is served."""
    from churn.model.additive import Additive
    from churn.model.boosting import categories_of, in_full_columns, trees_to_onnx
    from churn.model.onnx_forest import to_onnx as baseline_to_onnx
    from churn.model.trees import trees_of_boosting, trees_of_forest

    if fitted.calibration is None:
        return baseline_to_onnx(fitted.pipeline)
    if fitted.kind == "logistic":
        return Additive.of(fitted.pipeline).to_onnx(fitted.calibration, fitted.service)
    pipeline, is_share = fitted.pipeline, fitted.kind == "forest"
    trees = (
        trees_of_forest(pipeline["forest"])
        if is_share
        else in_full_columns(trees_of_boosting(pipeline["boosting"]), pipeline, fitted.service)
    )
    return trees_to_onnx(
        trees, categories_of(pipeline), fitted.service, fitted.calibration, is_share=is_share
    )
