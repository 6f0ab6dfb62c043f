"""Logistic regression on one-hot categories, and on numbers as lines that bend at quantiles."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from churn.arrays import Floats
from churn.contract.structure import Service
from churn.model.arrays import Additive
from churn.model.encode import categories_of, onnx_inputs, shares
from churn.model.rows import Rows

if TYPE_CHECKING:
    import pandas as pd

    from churn.model.piecewise import PiecewiseLinear  # brings scikit-learn

# The most pieces of a number's line.
PIECES = 6


class Logistic:
    """Logistic regression; its score is in log odds."""

    name = "logistic"
    model_type = "LogisticRegression"

    def grid(self, training_rows: int) -> Sequence[dict[str, Any]]:
        """Return the strengths to try: the inverse of the regularisation (scikit-learn's C)."""
        return ({"strength": 0.1}, {"strength": 1.0})

    def new_pipeline(self, rows: Rows, parameters: dict[str, Any]) -> Any:
        """Return the unfitted pipeline."""
        from sklearn.compose import ColumnTransformer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import Pipeline
        from sklearn.preprocessing import OneHotEncoder

        from churn.model.piecewise import PiecewiseLinear

        encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
        parts = [
            ("categorical", encoder, rows.service.categorical_cols),
            ("numeric", PiecewiseLinear(PIECES), rows.service.numeric_cols),
        ]
        # Newton's method is exact on a few hundred columns, and does not depend on the number of threads.
        regression = LogisticRegression(
            C=parameters["strength"], solver="newton-cholesky", max_iter=200
        )
        return Pipeline([("encode", ColumnTransformer(parts)), ("regression", regression)])

    def log_odds(self, estimator: Any, features: "pd.DataFrame") -> Floats:
        """Return the sum over the curves."""
        return np.asarray(estimator.decision_function(features), dtype=np.float64)

    def arrays(self, pipeline: Any, service: Service) -> Additive:
        """Return the curves."""
        return _curves(pipeline)

    def importances(self, pipeline: Any, rows: Rows) -> dict[str, float]:
        """Return how far each feature's curve moves the log odds of those held out, on average."""
        service = rows.service
        curves = _curves(pipeline).curves(onnx_inputs(rows.holdout, service))
        spread = np.abs(curves - np.median(curves, axis=0)).mean(axis=0)
        return shares(zip([*service.categorical_cols, *service.numeric_cols], spread, strict=True))


def _curves(pipeline: Any) -> Additive:
    """Read the curves of a fitted pipeline."""
    encode, regression = pipeline["encode"], pipeline["regression"]
    coefficients = regression.coef_[0].astype(np.float64)
    pieces: PiecewiseLinear = encode.named_transformers_["numeric"]
    categories = categories_of(pipeline)
    ends = np.cumsum([len(known) for known in categories])
    weights = np.split(coefficients[: ends[-1] if len(ends) else 0], ends[:-1])
    at = int(ends[-1]) if len(ends) else 0
    slopes, unknowns, columns, hinges = [], [], [], []
    for column, knots in enumerate(pieces.knots_):
        own = coefficients[at : at + len(knots) + 2]
        slopes.append(own[0] / pieces.scale_[column])
        hinges += list(own[1:-1] / pieces.scale_[column])
        columns += [column] * len(knots)
        unknowns.append(own[-1])
        at += len(own)
    return Additive(
        intercept=float(regression.intercept_[0]),
        categories=categories,
        category_weights=list(weights) if categories else [],
        fill=np.asarray(pieces.fill_, dtype=np.float64),
        weight=np.asarray(slopes, dtype=np.float64),
        unknown_weight=np.asarray(unknowns, dtype=np.float64),
        hinge_column=np.asarray(columns, dtype=np.int64),
        hinge_knot=np.concatenate([*pieces.knots_, np.empty(0)]).astype(np.float64),
        hinge_weight=np.asarray(hinges, dtype=np.float64),
    )
