"""The kinds of model: what each of them must provide, and which of them are candidates each month.

A kind is one module of this package and one line in KINDS. It provides the unfitted pipeline and the
parameters to try and, of a fitted pipeline, its log odds, its plain arrays and its feature importances.
The ONNX file (`churn.model.onnx`) and the reasons (`churn.scoring.reasons`) both come from the arrays, so
what explains a score is what computed it. Judging, calibrating and choosing are the same for all kinds, in
`churn.model.candidates`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from churn.arrays import Floats
from churn.contract.structure import Service
from churn.model.arrays import Additive, TreeModel
from churn.model.kinds.boosting import Boosting
from churn.model.kinds.forest import Forest
from churn.model.kinds.logistic import Logistic
from churn.model.kinds.shallow_forest import ShallowForest
from churn.model.rows import Rows

if TYPE_CHECKING:
    import pandas as pd

Parameters = dict[str, Any]


class Kind(Protocol):
    """A kind of model."""

    @property
    def name(self) -> str:
        """Its name in tables, MLflow's tags and the ledger."""

    @property
    def model_type(self) -> str:
        """The class of scikit-learn behind it."""

    def grid(self, training_rows: int) -> Sequence[Parameters]:
        """Return the parameters to try on this many rows, those of the smallest model first.

        None of them may change the encoding: a fold is encoded once for all of them.
        """

    def new_pipeline(self, rows: Rows, parameters: Parameters) -> Any:
        """Return the unfitted pipeline for some rows: a step `encode`, and the estimator after it."""

    def log_odds(self, estimator: Any, features: "pd.DataFrame") -> Floats:
        """Return the log odds of leaving, before calibration, [N].

        Args:
            estimator: the fitted pipeline, or its last step alone for features that are encoded already.
            features: one row per user.
        """

    def arrays(self, pipeline: Any, service: Service) -> TreeModel | Additive:
        """Return a fitted pipeline in plain arrays: a sum of trees, or a sum of one curve per feature."""

    def importances(self, pipeline: Any, rows: Rows) -> dict[str, float]:
        """Return each feature's importance in a fitted pipeline as a share of all, highest first."""


# The baseline's kind. It is not a candidate: calibrated, small trees rank better.
FOREST = Forest()
SHALLOW_FOREST, LOGISTIC, BOOSTING = ShallowForest(), Logistic(), Boosting()

# The candidates of a month. The first of equals is chosen.
KINDS: tuple[Kind, ...] = (
    SHALLOW_FOREST,
    LOGISTIC,
    BOOSTING,
)

# The kind that is fitted on several months: it takes seconds on 100,000 rows, where boosting takes minutes.
POOLED: Kind = LOGISTIC
