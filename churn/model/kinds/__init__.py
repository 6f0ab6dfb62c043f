"""The kinds of model: what each of them has to bring, and which of them stand for choice each month.

A kind is one module of this package and one line in KINDS. It brings the unfitted pipeline and the
parameters to try; and of a fitted pipeline its log odds, its plain arrays and what its features matter.
From the arrays come the ONNX file (churn.model.onnx) and the reasons (churn.scoring.reasons), so
that what explains a score is what made it. Judging, calibrating and choosing are the same for all kinds
and stand in churn.model.candidates.
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
        """What tables, MLflow's tags and the ledger call it."""

    @property
    def model_type(self) -> str:
        """The class of scikit-learn behind it."""

    def grid(self, training_rows: int) -> Sequence[Parameters]:
        """Return the parameters to try on so many rows, those of the smallest model first.

        None of them may change the encoding: a fold is encoded once for all of them.
        """

    def new_pipeline(self, rows: Rows, parameters: Parameters) -> Any:
        """Return the unfitted pipeline for some rows: a step `encode`, and the estimator behind it."""

    def log_odds(self, estimator: Any, features: "pd.DataFrame") -> Floats:
        """Return the log odds of leaving, before calibration.

        Args:
            estimator: the fitted pipeline; or its last step alone, for features that are encoded.
            features: one row per user.
        """

    def arrays(self, pipeline: Any, service: Service) -> TreeModel | Additive:
        """Return a fitted pipeline in plain arrays: a sum of trees, or of a curve for each feature."""

    def importances(self, pipeline: Any, rows: Rows) -> dict[str, float]:
        """Return each feature's share in what a fitted pipeline says, highest first."""


FOREST = (
    Forest()
)  # the baseline's; what is calibrated of it is no candidate, as small trees rank better
SHALLOW_FOREST, LOGISTIC, BOOSTING = ShallowForest(), Logistic(), Boosting()

# The candidates of a month. The first of equals is chosen.
KINDS: tuple[Kind, ...] = (
    SHALLOW_FOREST,
    LOGISTIC,
    BOOSTING,
)

# The kind that is fitted on several months: seconds on 100,000 rows, where boosting takes minutes.
POOLED: Kind = LOGISTIC
