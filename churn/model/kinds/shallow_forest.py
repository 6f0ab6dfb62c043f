"""A forest of small trees: no more leaves each than tables of turns explain, and a better ranking for it."""

from collections.abc import Sequence
from typing import Any

from churn.model.kinds.forest import Forest, new_forest
from churn.model.rows import Rows

# One more than the splits of a tree that reasons look up (churn.scoring.treeshap).
LEAVES = 11


class ShallowForest(Forest):
    """A forest like the baseline's whose trees end early; its score is the mean of its trees' shares."""

    name = "shallow forest"

    def grid(self, training_rows: int) -> Sequence[dict[str, Any]]:
        """Return the parameters to try: more trees of this size rank no better."""
        return ({"n_estimators": 100, "max_leaf_nodes": LEAVES},)

    def new_pipeline(self, rows: Rows, parameters: dict[str, Any]) -> Any:
        """Return the unfitted pipeline."""
        pipeline = new_forest(rows.service, parameters["n_estimators"])
        pipeline["forest"].set_params(max_leaf_nodes=parameters["max_leaf_nodes"], oob_score=False)
        return pipeline
