"""A fitted model of any kind, and what the hold-out says of it."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from churn.contract.features import Service
from churn.model.calibration import Calibration
from churn.model.encode import THRESHOLD
from churn.model.kinds import Kind
from churn.model.onnx_graph import write_onnx
from churn.model.rows import Rows

if TYPE_CHECKING:
    import pandas as pd

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
        return self.kind.model_type

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
    def importances(self) -> dict[str, float]:
        """Each feature's share in what it says, highest first."""
        return self.kind.importances(self.pipeline, self.data)

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """What those held out did."""
        return self.data.holdout_labels


def to_onnx(fitted: Fitted) -> bytes:
    """Return the model as it is served."""
    arrays = fitted.kind.arrays(fitted.pipeline, fitted.service)
    return write_onnx(arrays, fitted.service, fitted.calibration)
