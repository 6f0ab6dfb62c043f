"""Shapley values of trees of any depth: every leaf adds to every column, summed over points of an integral.

No candidate grows such trees now; releases of before do, and are explained for as long as they are in force.
The worth of a coalition is a product over the columns of a leaf's path, and a Shapley value the integral of
a polynomial in the chance of a column to be in a coalition. At the points of Gauss and Legendre it is exact
up to twice as many columns on one path as there are points, and beyond that as good as exact. Each split is
one multiplication on the way down and one sum on the way up (Quadrature TreeSHAP, Wettenstein et al., 2026);
here for all edges of a level at once, one row after the other.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from churn.model.onnx_graph import floor32
from churn.model.trees import Trees

POINTS = 8
_NODES = 100_000  # of the trees that are walked at once: bounds the memory
# How a row turns at an edge: against it, along it, or against one above it of the same column.
_AGAINST, _ALONG, _LOST = 0, 1, 2

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class _Edges:
    """The edges of some trees, level by level; of each level all that lead left, then all that lead right.

    An edge carries the split of its parent and the value of its child. `grows` and `moves` are by turn and
    point: the factor of the product along the path, and what the edge's column adds per worth below it.
    """

    levels: list[slice]
    parent: Ints  # the edge above; -1: none
    above: Ints  # the next edge above on the same column; -1: none
    column: Ints
    split: npt.NDArray[np.float32]
    unknown_left: Bools
    is_left: Bools
    value: Floats  # of a leaf; 0 where the edge leads to a split
    grows: Floats  # [edges, turns, points]
    moves: Floats


class DeepTrees:
    """Explains trees of any depth."""

    def __init__(self, trees: Trees) -> None:
        self._parts = [_edges(part) for part in trees.parts(_NODES)]
        self._mean = float((trees.value * _reach(trees))[trees.is_leaf].sum())

    def contributions(self, features: npt.NDArray[np.float32]) -> Floats:
        """Return what each column adds, and last the mean score of the training rows: [N, columns + 1]."""
        added = np.zeros((len(features), features.shape[1] + 1))
        added[:, -1] = self._mean
        for edges in self._parts:
            for row, values in zip(added, features, strict=True):
                row[:-1] += _explain(edges, values)
        return added


def _explain(edges: _Edges, row: npt.NDArray[np.float32]) -> Floats:
    """Return what each column adds to the score of one row."""
    every = np.arange(len(edges.column))
    turns = _turns(edges, row)
    grows = edges.grows[every, turns]
    product = np.ones(
        (len(every) + 1, POINTS)
    )  # along the path; the last stands for that of a root
    for level in edges.levels:
        product[level] = product[edges.parent[level]] * grows[level]
    worth = product * np.append(edges.value, 0.0)[:, None]  # of the leaves below
    for level in reversed(edges.levels):
        middle = (level.start + level.stop) // 2
        below = worth[level.start : middle] + worth[middle : level.stop]
        worth[edges.parent[level.start : middle]] = below
    added = (worth[:-1] * edges.moves[every, turns]).sum(axis=1)
    return np.bincount(edges.column, added, minlength=len(row)).astype(np.float64)


def _turns(edges: _Edges, row: npt.NDArray[np.float32]) -> Ints:
    values = row[edges.column]
    goes_left = (values <= edges.split) | (edges.unknown_left & np.isnan(values))
    turns = np.where(goes_left == edges.is_left, _ALONG, _AGAINST)
    for level in edges.levels:
        above = edges.above[level]
        is_lost = (above >= 0) & (turns[above] != _ALONG)
        turns[level] = np.where(is_lost, _LOST, turns[level])
    return turns


def _edges(trees: Trees) -> _Edges:
    """Lay out the edges, with what a row's turn at each does to the integrand at each point."""
    columns = int(trees.feature.max(initial=0)) + 1
    nodes, came_by = trees.roots, np.full(len(trees.roots), -1)
    last = np.full((len(nodes), columns), -1)  # each node's lowest edge of each column on its path
    splits, children = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    parents, aboves, levels = [np.empty(0, np.int64)], [np.empty(0, np.int64)], []
    start = 0
    while (is_split := trees.left[nodes] >= 0).any():
        nodes, came_by, last = (
            np.concatenate([each[is_split]] * 2) for each in (nodes, came_by, last)
        )
        half, size = nodes[: len(nodes) // 2], len(nodes)
        column, every = trees.feature[nodes], np.arange(size)
        splits.append(nodes)
        children.append(np.concatenate([trees.left[half], trees.right[half]]))
        parents.append(came_by)
        aboves.append(last[every, column])
        levels.append(slice(start, start + size))
        came_by, last[every, column] = start + every, start + every
        nodes, start = children[-1], start + size
    split, child, parent, above = map(np.concatenate, (splits, children, parents, aboves))
    before, after = _shares(trees, split, child, above, levels)
    grows, moves = _by_turn(before, after)
    return _Edges(
        levels, parent, above, trees.feature[split], floor32(trees.threshold[split]),
        trees.missing_left[split], trees.left[split] == child,
        np.where(trees.left[child] < 0, trees.value[child], 0.0), grows, moves,
    )  # fmt: skip


def _shares(
    trees: Trees, split: Ints, child: Ints, above: Ints, levels: list[slice]
) -> tuple[Floats, Floats]:
    """Return the share of the training rows that take every turn of the path on the edge's column.

    Returns:
        The share without the edge, and the share with it.
    """
    before, after = np.ones(len(split)), trees.cover[child] / trees.cover[split]
    for level in levels:
        has_above = above[level] >= 0
        before[level] = np.where(has_above, after[above[level]], 1.0)
        after[level] *= before[level]
    return before, after


def _by_turn(without: Floats, with_edge: Floats) -> tuple[Floats, Floats]:
    points, weights = np.polynomial.legendre.leggauss(POINTS)
    chance, weight = (points + 1) / 2, weights / 2
    before, after = without[:, None], with_edge[:, None]
    factor, agrees = (share + (1 - share) * chance for share in (before, after))
    disagrees = after * (1 - chance)
    grows = [disagrees / factor, agrees / factor, after / before + np.zeros_like(factor)]
    slope = (1 - before) / factor
    moves = [-1 / (1 - chance) - slope, (1 - after) / agrees - slope, np.zeros_like(factor)]
    return np.stack(grows, axis=1), np.stack(moves, axis=1) * weight


def _reach(trees: Trees) -> Floats:
    """Return the share of a tree's training rows that reach each node."""
    begins = np.zeros(len(trees.left), dtype=np.int64)
    begins[trees.roots[1:]] = 1
    share: Floats = trees.cover / trees.cover[trees.roots][np.cumsum(begins)]
    return share
