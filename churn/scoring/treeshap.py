"""What each column adds to a tree model's score, exactly: path-dependent TreeSHAP.

Small trees are looked up in their pattern tables. Deep ones are left to xgboost's engine, which only explains
here; it has fitted nothing. Its trees say `<` where ours say `<=`, in float32: a threshold moves to the
next float32 above.
"""

import json
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from churn.model.onnx_graph import floor32
from churn.model.trees import Trees
from churn.scoring.pattern_tables import PatternTables

Floats = npt.NDArray[np.float64]


class TreeShap(Protocol):
    """An opened model of trees."""

    def contributions(self, features: npt.NDArray[np.float32]) -> Floats:
        """Return what each column adds, and last the mean score of the training rows: [N, columns + 1]."""


def open_tree_shap(trees: Trees, columns: int) -> TreeShap:
    """Open a model in the way that is quickest for its trees.

    Args:
        trees: splits over `columns` columns.
        columns: how many there are.
    """
    return PatternTables(trees) if PatternTables.fit(trees) else Boosted(trees, columns)


class Boosted:
    """Explains deep trees as an xgboost Booster."""

    def __init__(self, trees: Trees, columns: int) -> None:
        self._booster = to_booster(trees, columns)

    def contributions(self, features: npt.NDArray[np.float32]) -> Floats:
        """Return what each column adds, and last the mean score of the training rows: [N, columns + 1]."""
        import xgboost

        rows = xgboost.DMatrix(features, missing=np.nan, nthread=0)
        found: Floats = self._booster.predict(rows, pred_contribs=True).astype(np.float64)
        return found.reshape(len(features), features.shape[1] + 1)  # no rows: one empty axis only


def to_booster(trees: Trees, columns: int) -> Any:
    """Return the trees as an xgboost Booster whose raw score is theirs, less `base`.

    Args:
        trees: splits over `columns` columns.
        columns: how many there are.
    """
    import xgboost

    ends = [*trees.roots[1:].tolist(), len(trees.left)]
    spans = list(zip(trees.roots.tolist(), ends, strict=True))
    model = {
        "gbtree_model_param": {"num_parallel_tree": "1", "num_trees": str(len(spans))},
        "iteration_indptr": list(range(len(spans) + 1)),
        "tree_info": [0] * len(spans),
        "trees": [_tree(trees, at, slice(*span), columns) for at, span in enumerate(spans)],
    }
    learner = {
        "attributes": {},
        "feature_names": [],
        "feature_types": [],
        "gradient_booster": {"model": model, "name": "gbtree"},
        "learner_model_param": {
            "base_score": "0E0",
            "boost_from_average": "0",
            "num_class": "0",
            "num_feature": str(columns),
            "num_target": "1",
        },
        "objective": {"name": "reg:squarederror", "reg_loss_param": {"scale_pos_weight": "1"}},
    }
    version = [int(part) for part in xgboost.__version__.split(".")[:3]]
    written = json.dumps({"learner": learner, "version": version}, allow_nan=True)
    booster = xgboost.Booster()
    booster.load_model(bytearray(written.encode()))
    return booster


def _tree(trees: Trees, at: int, span: slice, columns: int) -> dict[str, Any]:
    order = _siblings_together(trees.left[span], trees.right[span], span.start)
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    nodes_at = span.start + order
    is_leaf = trees.is_leaf[nodes_at]
    left = np.where(is_leaf, -1, back[np.where(is_leaf, 0, trees.left[nodes_at] - span.start)])
    right = np.where(is_leaf, -1, back[np.where(is_leaf, 0, trees.right[nodes_at] - span.start)])
    nodes = len(left)
    parents = np.full(nodes, 2147483647)
    inner = np.flatnonzero(~is_leaf)
    parents[left[inner]] = parents[right[inner]] = inner
    above = np.nextafter(floor32(trees.threshold[nodes_at]), np.float32(np.inf))
    values = trees.value[nodes_at].astype(np.float32)
    return {
        "base_weights": _means(values, left, right, trees.cover[nodes_at]).tolist(),
        "categories": [],
        "categories_nodes": [],
        "categories_segments": [],
        "categories_sizes": [],
        "default_left": trees.missing_left[nodes_at].astype(int).tolist(),
        "id": at,
        "left_children": left.tolist(),
        "right_children": right.tolist(),
        "parents": parents.tolist(),
        "loss_changes": [0.0] * nodes,
        "split_conditions": np.where(is_leaf, values, above).tolist(),
        "split_indices": trees.feature[nodes_at].tolist(),
        "split_type": [0] * nodes,
        "sum_hessian": trees.cover[nodes_at].tolist(),
        "tree_param": {
            "num_deleted": "0",
            "num_feature": str(columns),
            "num_nodes": str(nodes),
            "size_leaf_vector": "1",
        },
    }


def _siblings_together(left: Any, right: Any, start: int) -> npt.NDArray[np.int64]:
    """Return the nodes level by level: xgboost expects a right child just behind its left one."""
    order = [0]
    for at in order:
        if left[at] >= 0:
            order += [int(left[at]) - start, int(right[at]) - start]
    return np.asarray(order, dtype=np.int64)


def _means(values: Any, left: Any, right: Any, cover: Any) -> npt.NDArray[np.float64]:
    """Return each node's mean over the training rows that reached it; children stand behind parents."""
    means: npt.NDArray[np.float64] = values.astype(np.float64)
    for at in np.flatnonzero(left >= 0)[::-1]:
        sides = [left[at], right[at]]
        means[at] = np.average(means[sides], weights=cover[sides])
    return means
