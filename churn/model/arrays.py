"""Models as plain arrays, from which they are exported, explained and stored: trees, curves, calibration.

Only the calibration is fitted here: two numbers that turn log odds into calibrated probabilities (Platt
scaling, 1999). How the arrays become ONNX is `onnx.py`; how they are stored to explain scores, `fitted.py`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from churn.arrays import Bools, Floats, Ints, Labels
from churn.errors import ChurnError
from churn.model.encode import Inputs


@dataclass(frozen=True)
class Additive:
    """log odds = intercept + one curve per feature; categorical features first, then numbers.

    The curve of a number x, `fill` where it is unknown, is weight * x, plus unknown_weight where it was
    unknown, plus hinge_weight * max(0, x - hinge_knot) for each of its hinges.
    """

    intercept: float
    categories: list[list[str]]
    category_weights: list[Floats]
    # One value per number.
    fill: Floats
    weight: Floats
    unknown_weight: Floats
    # One value per hinge; the column is the index of the number whose line it bends.
    hinge_column: Ints
    hinge_knot: Floats
    hinge_weight: Floats

    def curves(self, inputs: Inputs) -> Floats:
        """Return what each feature adds to the log odds: [N, categories + numbers]."""
        numeric = inputs["numeric"].astype(np.float64)
        unknown = np.isnan(numeric)
        filled = np.where(unknown, self.fill, numeric)
        parts = [
            self._of_category(at, inputs["categorical"][:, at])
            for at in range(len(self.categories))
        ]
        numbers = filled * self.weight + unknown * self.unknown_weight
        excess = np.maximum(0, filled[:, self.hinge_column] - self.hinge_knot) * self.hinge_weight
        np.add.at(numbers.T, self.hinge_column, excess.T)
        return np.column_stack([*parts, numbers]) if parts else numbers

    def log_odds(self, inputs: Inputs) -> Floats:
        """Return the log odds of each row."""
        return np.asarray(self.curves(inputs).sum(axis=1) + self.intercept)

    def _of_category(self, at: int, values: npt.NDArray[Any]) -> Floats:
        known = dict(zip(self.categories[at], self.category_weights[at], strict=True))
        return np.array([known.get(value, 0.0) for value in values], dtype=np.float64)


@dataclass(frozen=True)
class Trees:
    """All nodes of all trees; a row's score is `base` plus the values of the leaves that it ends in.

    A row goes left where its value is at most the threshold, or where it is unknown and `missing_left` is
    set. Per tree, `roots` is the index of its first node. Per node: `feature` is the column that it splits
    on (0 at leaves), `left` and `right` are the indices of its children (-1 at leaves), `value` is what a
    leaf adds to the score, and `cover` is the weight of the training rows that reached the node.
    """

    base: float
    roots: Ints
    feature: Ints
    threshold: Floats
    left: Ints
    right: Ints
    missing_left: Bools
    value: Floats
    cover: Floats

    @property
    def is_leaf(self) -> Bools:
        """Which nodes are leaves."""
        return self.left < 0

    def parts(self, most: int) -> "list[Trees]":
        """Return the trees in groups of up to `most` nodes, at least one tree each; no group has the base."""
        ends = [*self.roots[1:].tolist(), len(self.left)]
        groups: list[list[int]] = []
        begun = 0
        for tree, end in enumerate(ends):
            if not groups or end - begun > most:
                groups.append([])
                begun = int(self.roots[tree])
            groups[-1].append(tree)
        return [self._of(group[0], ends[group[-1]], group) for group in groups]

    def _of(self, first: int, end: int, group: list[int]) -> "Trees":
        start = int(self.roots[first])
        span = slice(start, end)
        left, right = (
            np.where(side < 0, -1, side - start) for side in (self.left[span], self.right[span])
        )
        return Trees(
            base=0.0,
            roots=self.roots[group] - start,
            feature=self.feature[span],
            threshold=self.threshold[span],
            left=left,
            right=right,
            missing_left=self.missing_left[span],
            value=self.value[span],
            cover=self.cover[span],
        )


@dataclass(frozen=True)
class TreeModel:
    """A model whose score is a sum over trees; their columns are the one-hot categories, then the numbers.

    `categories` are those that each categorical column is one-hot encoded to. The score is a forest's share
    of votes where `is_share` is set, and log odds otherwise.
    """

    trees: Trees
    categories: list[list[str]]
    is_share: bool


class Tree(NamedTuple):
    """The nodes of one tree, in the columns of Trees; the first is its root."""

    feature: Ints
    threshold: Floats
    left: Ints
    right: Ints
    missing_left: Bools
    value: Floats
    cover: Floats


def joined(base: float, trees: Iterable[Tree]) -> Trees:
    """Return trees as one set of arrays."""
    parts: list[Tree] = []
    roots: list[int] = []
    start = 0
    for tree in trees:
        is_leaf = tree.left < 0
        children = (np.where(is_leaf, -1, side + start) for side in (tree.left, tree.right))
        left, right = children
        parts.append(tree._replace(left=left, right=right))
        roots.append(start)
        start += len(tree.left)
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    feature, threshold, left, right, missing_left, value, cover = columns
    return Trees(
        base=base,
        roots=np.asarray(roots, dtype=np.int64),
        feature=feature.astype(np.int64),
        threshold=threshold.astype(np.float64),
        left=left.astype(np.int64),
        right=right.astype(np.int64),
        missing_left=missing_left.astype(bool),
        value=value.astype(np.float64),
        cover=cover.astype(np.float64),
    )


# A forest's share of votes is kept this far from 0 and 1 (half a tree of 300): its log odds stay finite.
EDGE = 1 / 600


@dataclass(frozen=True)
class Calibration:
    """P(churn) = sigmoid(slope * log odds + intercept)."""

    slope: float
    intercept: float

    def probabilities(self, log_odds: Floats) -> Floats:
        """Return the calibrated probabilities."""
        return np.asarray(1 / (1 + np.exp(-(self.slope * log_odds + self.intercept))))


def log_odds_of(share: Floats) -> Floats:
    """Return the log odds of a forest's share of votes, which is kept off 0 and 1."""
    clipped = np.clip(share, EDGE, 1 - EDGE)
    return np.asarray(np.log(clipped / (1 - clipped)))


def fit_calibration(log_odds: Floats, labels: Labels) -> Calibration:
    """Fit a calibration to the log odds of users that the model was not fitted on.

    A model whose log odds run against the labels gets slope 0: everybody's probability is the churn rate.

    Args:
        log_odds: the model's, [N].
        labels: 1 for those who left, [N].

    Raises:
        ChurnError: a log odds is not a finite number, or the labels are of one class.
    """
    from sklearn.linear_model import LogisticRegression

    if not np.isfinite(log_odds).all() or len(set(labels.tolist())) < 2:
        raise ChurnError("log odds that are not numbers, or one class", where="calibration")
    fitted = LogisticRegression(C=np.inf, solver="newton-cholesky").fit(log_odds[:, None], labels)
    slope = float(fitted.coef_[0, 0])
    if slope <= 0:
        rate = float(labels.mean())
        return Calibration(0.0, float(np.log(rate / (1 - rate))))
    return Calibration(slope, float(fitted.intercept_[0]))
