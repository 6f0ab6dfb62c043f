"""What each column adds to a tree model's score, exactly: path-dependent TreeSHAP, in two ways."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from churn.model.trees import Trees
from churn.scoring.deep_trees import DeepTrees
from churn.scoring.pattern_tables import PatternTables


class TreeShap(Protocol):
    """An opened model of trees."""

    def contributions(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Return what each column adds, and last the mean score of the training rows: [N, columns + 1]."""


def open_tree_shap(trees: Trees) -> TreeShap:
    """Open a model: small trees are looked up, deep ones of a release of before summed over points."""
    if PatternTables.fit(trees):
        return PatternTables(trees)
    return DeepTrees(trees)
