"""A forest of small trees: few enough leaves that lookup tables explain them, and a better ranking for it."""

from collections.abc import Sequence
from typing import Any

from churn.model.kinds.forest import Forest, new_forest
from churn.model.rows import Rows

# One more than the most splits of a tree that reasons are looked up for (`churn.scoring.treeshap`).
LEAVES = 11


class ShallowForest(Forest):
    """A forest like the baseline's, but with small trees; its score is the mean of its trees' shares."""

    name = "shallow forest"

    def grid(self, training_rows: int) -> Sequence[dict[str, Any]]:
        """Return the one set of parameters to try; more trees of this size rank no better."""
        return ({"n_estimators": 100, "max_leaf_nodes": LEAVES},)

    def new_pipeline(self, rows: Rows, parameters: dict[str, Any]) -> Any:
        """Return the unfitted pipeline."""
        pipeline = new_forest(rows.service, parameters["n_estimators"])
        pipeline["forest"].set_params(max_leaf_nodes=parameters["max_leaf_nodes"], oob_score=False)
        return pipeline
