"""Every tree of a model in plain arrays: what is exported, explained and stored. No fitting here."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Trees:
    """All nodes of all trees; a row's score is `base` and the values of the leaves that it ends in.

    A row goes left where its value is at most the threshold, or is unknown and `missing_left`.
    """

    base: float
    roots: Ints  # index of each tree's first node
    feature: Ints  # column that a node splits on; 0 at leaves
    threshold: Floats
    left: Ints  # index of the child; -1 at leaves
    right: Ints
    missing_left: Bools
    value: Floats  # at leaves: what it adds to the score
    cover: Floats  # weight of the training rows that reached the node

    @property
    def is_leaf(self) -> Bools:
        """Which nodes are leaves."""
        return self.left < 0

    def parts(self, most: int) -> "list[Trees]":
        """Return the trees in groups of up to `most` nodes, at least one tree each; the base is in none."""
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
    """A model whose score is a sum over trees, which split one-hot categories first, then numbers."""

    trees: Trees
    categories: list[list[str]]  # that each categorical column is one-hot encoded to
    is_share: bool  # the score is a forest's share of votes; otherwise log odds


class Tree(NamedTuple):
    """The nodes of one tree, in the columns of Trees; its root is the first."""

    feature: Ints
    threshold: Floats
    left: Ints
    right: Ints
    missing_left: Bools
    value: Floats
    cover: Floats


def joined(base: float, trees: Iterable[Tree]) -> Trees:
    """Return some trees as one set of arrays."""
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
