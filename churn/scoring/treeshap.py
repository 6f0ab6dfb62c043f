"""What each column adds to a tree model's score: path-dependent TreeSHAP (Lundberg et al., 2018), two ways.

Small trees are explained by lookup. A tree of s splits has at most 2**s patterns of branches that a row can
take. What each column adds is the same for all rows of one pattern, so it is computed once per pattern;
explaining a row is then one comparison per split and one lookup per tree.

Trees of any depth are explained by quadrature. No candidate grows deep trees now, but older releases have
them, and are explained for as long as they are in force. The worth of a coalition is a product over the
columns of a leaf's path, and a Shapley value is the integral of a polynomial in the probability that a column
is in the coalition. Gauss-Legendre quadrature is exact for up to twice as many columns on one path as there
are points, and nearly so beyond that. Each split takes one multiplication on the way down and one addition
on the way up (Quadrature TreeSHAP, Wettenstein et al., 2026). The edges of a level are computed at once, the
rows one after another.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from churn.arrays import Bools, Floats, Floats32, Ints
from churn.model.arrays import Trees
from churn.model.onnx import floor32

MOST_SPLITS = 10
# The columns of a block this large stay in the processor's cache.
_BLOCK_ROWS = 8_192


@dataclass(frozen=True)
class _Split:
    column: int
    threshold: np.float32
    missing_left: bool


@dataclass(frozen=True)
class _Table:
    """One tree: its splits, and what each of its columns adds for each pattern of branches.

    `added` is [columns, 2**splits]; bit k of a pattern is set where the row goes left at split k. `mean` is
    the tree's mean value over the training rows.
    """

    splits: list[_Split]
    columns: Ints
    added: Floats
    mean: float


class PatternTables:
    """Explains a model whose trees have at most MOST_SPLITS splits."""

    def __init__(self, trees: Trees) -> None:
        ends = [*trees.roots[1:].tolist(), len(trees.left)]
        spans = zip(trees.roots.tolist(), ends, strict=True)
        self._tables = [_table(trees, start, end) for start, end in spans]
        self._mean = sum(table.mean for table in self._tables)

    @staticmethod
    def fit(trees: Trees) -> bool:
        """Return whether every tree is small enough."""
        ends = np.append(trees.roots[1:], len(trees.left))
        return bool(((ends - trees.roots) // 2).max() <= MOST_SPLITS)

    def contributions(self, features: Floats32) -> Floats:
        """Return what each column adds, and last the mean score of the training rows: [N, columns + 1]."""
        added = np.zeros((features.shape[1] + 1, len(features)))
        added[-1] = self._mean
        for start in range(0, len(features), _BLOCK_ROWS):
            block = slice(start, start + _BLOCK_ROWS)
            self._add(np.ascontiguousarray(features[block].T), added[:, block])
        return np.ascontiguousarray(added.T)

    def _add(self, columns: Floats32, added: Floats) -> None:
        for table in self._tables:
            pattern = np.zeros(columns.shape[1], dtype=np.int64)
            for at, split in enumerate(table.splits):
                values = columns[split.column]
                # A comparison with NaN is false, so where unknown goes left, left is "not above".
                is_above, is_below = values > split.threshold, values <= split.threshold
                goes_left = ~is_above if split.missing_left else is_below
                pattern |= goes_left.astype(np.int64) << at
            for column, by_pattern in zip(table.columns, table.added, strict=True):
                added[column] += by_pattern[pattern]


def _table(trees: Trees, start: int, end: int) -> _Table:
    inner = start + np.flatnonzero(trees.left[start:end] >= 0)
    splits = [
        _Split(int(trees.feature[at]), floor, bool(trees.missing_left[at]))
        for at, floor in zip(inner, floor32(trees.threshold[inner]), strict=True)
    ]
    columns = np.unique(trees.feature[inner])
    patterns = np.arange(2 ** len(splits))
    goes_left = {int(at): (patterns >> bit & 1).astype(bool) for bit, at in enumerate(inner)}
    added, mean = np.zeros((len(columns), len(patterns))), 0.0
    for leaf, path in _leaves(trees, start):
        own = list(dict.fromkeys(int(trees.feature[at]) for at, _ in path))
        agrees = np.ones((len(own), len(patterns)), dtype=bool)
        # The share of the training rows that agree, split by split.
        share = np.ones(len(own))
        for at, child in path:
            slot = own.index(int(trees.feature[at]))
            agrees[slot] &= goes_left[at] == (child == trees.left[at])
            share[slot] *= trees.cover[child] / trees.cover[at]
        added[np.searchsorted(columns, own)] += trees.value[leaf] * _shapley(agrees, share)
        mean += trees.value[leaf] * float(share.prod())
    return _Table(splits, columns, added, mean)


def _shapley(agrees: Bools, share: Floats) -> Floats:
    """Return each column's Shapley value in the game of one leaf, [columns, patterns].

    A coalition's worth is a product: of 1 or 0 for each of its columns, as the row agrees with the path or
    not, and of the share of training rows that agree for each other column. The mean over all coalitions is
    the integral of a polynomial in the probability that a column is in one; Gauss-Legendre quadrature makes
    it exact.
    """
    points, weights = np.polynomial.legendre.leggauss(len(share) // 2 + 1)
    total = np.zeros(agrees.shape)
    for chance, weight in zip((points + 1) / 2, weights / 2, strict=True):
        factor = share[:, None] * (1 - chance) + agrees * chance
        total += weight * factor.prod(axis=0) / factor
    return np.asarray(total * (agrees - share[:, None]))


def _leaves(trees: Trees, root: int) -> list[tuple[int, list[tuple[int, int]]]]:
    """Return each leaf with its path: the nodes along it, each with the child that the path takes."""
    leaves: list[tuple[int, list[tuple[int, int]]]] = []
    stack: list[tuple[int, list[tuple[int, int]]]] = [(root, [])]
    while stack:
        at, path = stack.pop()
        if trees.left[at] < 0:
            leaves.append((at, path))
        else:
            children = (int(trees.left[at]), int(trees.right[at]))
            stack += [(child, [*path, (at, child)]) for child in children]
    return leaves


POINTS = 8
# Nodes of the trees that are walked at once: this bounds the memory.
_NODES = 100_000
# How a row branches at an edge: against it, along it, or against an edge of the same column above it.
_AGAINST, _ALONG, _LOST = 0, 1, 2


@dataclass(frozen=True)
class _Edges:
    """The edges of some trees, level by level; in each level first those that lead left, then the others.

    An edge carries the split of its parent and the value of its child, which is 0 unless it is a leaf.
    `parent` is the edge above it, and `above` the next edge above it on the same column; -1 stands for none.
    `grows` and `moves` are [edges, branches, points]: the edge's factor in the product along the path, and
    what its column adds per unit of worth below it.
    """

    levels: list[slice]
    parent: Ints
    above: Ints
    column: Ints
    split: Floats32
    unknown_left: Bools
    is_left: Bools
    value: Floats
    grows: Floats
    moves: Floats


class DeepTrees:
    """Explains trees of any depth."""

    def __init__(self, trees: Trees) -> None:
        self._parts = [_edges(part) for part in trees.parts(_NODES)]
        self._mean = float((trees.value * _reach(trees))[trees.is_leaf].sum())

    def contributions(self, features: Floats32) -> Floats:
        """Return what each column adds, and last the mean score of the training rows: [N, columns + 1]."""
        added = np.zeros((len(features), features.shape[1] + 1))
        added[:, -1] = self._mean
        for edges in self._parts:
            for row, values in zip(added, features, strict=True):
                row[:-1] += _explain(edges, values)
        return added


def _explain(edges: _Edges, row: Floats32) -> Floats:
    """Return what each column adds to the score of one row."""
    every = np.arange(len(edges.column))
    turns = _turns(edges, row)
    grows = edges.grows[every, turns]
    # The product along the path to each edge; the last entry stands for the root, which has no edge.
    product = np.ones((len(every) + 1, POINTS))
    for level in edges.levels:
        product[level] = product[edges.parent[level]] * grows[level]
    # The worth of the leaves below each edge.
    worth = product * np.append(edges.value, 0.0)[:, None]
    for level in reversed(edges.levels):
        middle = (level.start + level.stop) // 2
        below = worth[level.start : middle] + worth[middle : level.stop]
        worth[edges.parent[level.start : middle]] = below
    added = (worth[:-1] * edges.moves[every, turns]).sum(axis=1)
    return np.bincount(edges.column, added, minlength=len(row)).astype(np.float64)


def _turns(edges: _Edges, row: Floats32) -> Ints:
    values = row[edges.column]
    goes_left = (values <= edges.split) | (edges.unknown_left & np.isnan(values))
    turns = np.where(goes_left == edges.is_left, _ALONG, _AGAINST)
    for level in edges.levels:
        above = edges.above[level]
        is_lost = (above >= 0) & (turns[above] != _ALONG)
        turns[level] = np.where(is_lost, _LOST, turns[level])
    return turns


def _edges(trees: Trees) -> _Edges:
    """Lay out the edges, with the effect of each branch on the integrand at each point."""
    columns = int(trees.feature.max(initial=0)) + 1
    nodes, came_by = trees.roots, np.full(len(trees.roots), -1)
    # For each node, the lowest edge of each column on the path to it.
    last = np.full((len(nodes), columns), -1)
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
    """Return the share of the training rows that agree with all of the path's splits on the edge's column.

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


class TreeShap(Protocol):
    """A model of trees, opened to be explained."""

    def contributions(self, features: Floats32) -> Floats:
        """Return what each column adds, and last the mean score of the training rows: [N, columns + 1]."""


def open_tree_shap(trees: Trees) -> TreeShap:
    """Open a model of trees: small ones are looked up, the deep ones of older releases integrated."""
    if PatternTables.fit(trees):
        return PatternTables(trees)
    return DeepTrees(trees)
