"""The baseline's forest: 300 full trees on one-hot categories and numbers, with balanced class weights."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from churn.arrays import Floats
from churn.contract.structure import Service
from churn.model.arrays import (
    Tree,
    TreeModel,
    Trees,
    joined,
    log_odds_of,
)
from churn.model.encode import categories_of, columns_of, shares
from churn.model.rows import Rows

if TYPE_CHECKING:
    import pandas as pd

N_ESTIMATORS = 300
RANDOM_STATE = 42


def new_forest(service: Service, n_estimators: int = N_ESTIMATORS) -> Any:
    """Return the unfitted pipeline for the features of `service`."""
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder

    # The encoding is dense, since forests refuse NaN in sparse input.
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    encode = ColumnTransformer(
        [("categorical", encoder, service.categorical_cols)], remainder="passthrough"
    )
    forest = RandomForestClassifier(
        n_estimators=n_estimators,
        class_weight="balanced",
        max_features="sqrt",
        random_state=RANDOM_STATE,
        # The backtest judges it out of bag. The trees are the same without.
        oob_score=True,
        n_jobs=1,
    )
    return Pipeline([("encode", encode), ("forest", forest)])


def out_of_bag(pipeline: Any) -> Floats:
    """Return each training user's log odds by the trees that were not fitted on that user, [N].

    They are NaN for a user whom every tree was fitted on, as happens with few trees.
    """
    return log_odds_of(pipeline["forest"].oob_decision_function_[:, 1])


class Forest:
    """A forest; its score is the share of votes."""

    name = "forest"
    model_type = "RandomForestClassifier"

    def grid(self, training_rows: int) -> Sequence[dict[str, Any]]:
        """Return the parameters of the baseline, whatever the rows."""
        return ({"n_estimators": N_ESTIMATORS},)

    def new_pipeline(self, rows: Rows, parameters: dict[str, Any]) -> Any:
        """Return the unfitted pipeline."""
        return new_forest(rows.service, **parameters)

    def log_odds(self, estimator: Any, features: "pd.DataFrame") -> Floats:
        """Return the log odds of the share of votes, which is kept off 0 and 1."""
        return log_odds_of(estimator.predict_proba(features)[:, 1])

    def arrays(self, pipeline: Any, service: Service) -> TreeModel:
        """Return the trees; each adds its share of the votes."""
        return TreeModel(
            trees_of_forest(pipeline["forest"]), categories_of(pipeline), is_share=True
        )

    def importances(self, pipeline: Any, rows: Rows) -> dict[str, float]:
        """Return how much the splits on each feature reduce impurity."""
        columns = columns_of(pipeline, rows.service, rows.service.numeric_cols)
        return shares(zip(columns, pipeline["forest"].feature_importances_, strict=True))


def trees_of_forest(forest: Any) -> Trees:
    """Return a fitted RandomForestClassifier's trees; the score is P(churn)."""
    share = 1 / len(forest.estimators_)
    return joined(0.0, (_of_tree(estimator.tree_, share) for estimator in forest.estimators_))


def _of_tree(tree: Any, share: float) -> Tree:
    is_leaf = tree.children_left < 0
    return Tree(
        np.where(is_leaf, 0, tree.feature),
        np.where(is_leaf, 0.0, tree.threshold),
        tree.children_left,
        tree.children_right,
        np.asarray(tree.missing_go_to_left, dtype=bool),
        tree.value[:, 0, 1] * share,
        tree.weighted_n_node_samples,
    )
