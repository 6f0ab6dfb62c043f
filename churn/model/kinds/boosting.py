"""Gradient boosting on one-hot categories and numbers: many small trees, each fitted to the residuals."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from churn.arrays import Floats
from churn.contract.structure import Service
from churn.model.arrays import Tree, TreeModel, Trees, joined
from churn.model.encode import categories_of, columns_of, shares
from churn.model.rows import FEW_ROWS, Rows

if TYPE_CHECKING:
    import pandas as pd

RANDOM_STATE = 42
_TREES = {"min_samples_leaf": 50, "max_features": 0.4}
# Small on purpose: a month of a few thousand users cannot tell a finer grid apart.
_GRID: tuple[dict[str, Any], ...] = (
    {"learning_rate": 0.1, "max_iter": 80, "max_leaf_nodes": 4, **_TREES},
    {"learning_rate": 0.05, "max_iter": 150, "max_leaf_nodes": 8, **_TREES},
)


class Boosting:
    """Gradient boosting; its score is in log odds."""

    name = "boosting"
    model_type = "HistGradientBoostingClassifier"

    def grid(self, training_rows: int) -> Sequence[dict[str, Any]]:
        """Return the parameters to try: larger trees only where there are enough rows to grow them on."""
        return _GRID[:1] if training_rows <= FEW_ROWS else _GRID

    def new_pipeline(self, rows: Rows, parameters: dict[str, Any]) -> Any:
        """Return the unfitted pipeline.

        Numbers without a single value are left out, since the booster cannot bin them.
        """
        from sklearn.compose import ColumnTransformer
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.pipeline import Pipeline
        from sklearn.preprocessing import OneHotEncoder

        service = rows.service
        encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
        known = [name for name in service.numeric_cols if rows.features[name].notna().any()]
        parts = [
            ("categorical", encoder, service.categorical_cols),
            ("numeric", "passthrough", known),
        ]
        booster = HistGradientBoostingClassifier(
            early_stopping=False, random_state=RANDOM_STATE, **parameters
        )
        return Pipeline([("encode", ColumnTransformer(parts)), ("boosting", booster)])

    def log_odds(self, estimator: Any, features: "pd.DataFrame") -> Floats:
        """Return the sum over the trees."""
        return np.asarray(estimator.decision_function(features), dtype=np.float64)

    def arrays(self, pipeline: Any, service: Service) -> TreeModel:
        """Return the trees; their splits are renumbered over all columns, including those left out."""
        trees, categories = trees_of_boosting(pipeline["boosting"]), categories_of(pipeline)
        one_hots = sum(map(len, categories))
        numbers = [one_hots + service.numeric_cols.index(name) for name in _numbers(pipeline)]
        full = np.array([*range(one_hots), *numbers], dtype=np.int64)
        counted = dataclasses.replace(trees, feature=full[trees.feature])
        return TreeModel(counted, categories, is_share=False)

    def importances(self, pipeline: Any, rows: Rows) -> dict[str, float]:
        """Return the gain of the splits on each feature."""
        columns = columns_of(pipeline, rows.service, _numbers(pipeline))
        gains = np.zeros(len(columns))
        for stage in pipeline["boosting"]._predictors:
            splits = stage[0].nodes[stage[0].nodes["is_leaf"] == 0]
            np.add.at(gains, splits["feature_idx"], splits["gain"])
        return shares(zip(columns, gains, strict=True), rows.service)


def trees_of_boosting(boosting: Any) -> Trees:
    """Return a fitted HistGradientBoostingClassifier's trees; the score is the log odds of leaving."""
    base = float(boosting._baseline_prediction.ravel()[0])
    return joined(base, (_of_nodes(stage[0].nodes) for stage in boosting._predictors))


def _numbers(pipeline: Any) -> list[str]:
    """Return the numeric features that were not left out."""
    return list(pipeline["encode"].transformers_[1][2])


def _of_nodes(nodes: Any) -> Tree:
    is_leaf = nodes["is_leaf"].astype(bool)
    return Tree(
        np.where(is_leaf, 0, nodes["feature_idx"]),
        np.where(is_leaf, 0.0, nodes["num_threshold"]),
        np.where(is_leaf, -1, nodes["left"].astype(np.int64)),
        np.where(is_leaf, -1, nodes["right"].astype(np.int64)),
        nodes["missing_go_to_left"].astype(bool),
        nodes["value"],
        nodes["count"],
    )
