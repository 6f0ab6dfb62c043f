"""Shapley values of small trees, looked up by the turns that a row takes at a tree's splits.

A tree of s splits knows 2**s patterns of turns at most. What each column adds is the same for all rows of
one pattern, so it is worked out once for each; explaining a row is then one comparison per split and one
look-up per tree. The values are the path-dependent ones, exact (Lundberg et al., 2018).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from churn.model.onnx_graph import floor32
from churn.model.trees import Trees

MOST_SPLITS = 10
_BLOCK_ROWS = 8_192  # a block's columns stay in the processor's cache

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Split:
    column: int
    threshold: np.float32
    missing_left: bool


@dataclass(frozen=True)
class _Table:
    """One tree: its splits, and what each pattern of turns adds to each of its columns."""

    splits: list[_Split]
    columns: Ints
    added: (
        Floats  # [columns, 2**splits]; bit k of a pattern is set where split k is left to the left
    )
    mean: float  # the tree's over the training rows


class PatternTables:
    """Explains a model whose trees have MOST_SPLITS splits at most."""

    def __init__(self, trees: Trees) -> None:
        ends = [*trees.roots[1:].tolist(), len(trees.left)]
        spans = zip(trees.roots.tolist(), ends, strict=True)
        self._tables = [_table(trees, start, end) for start, end in spans]
        self._mean = sum(table.mean for table in self._tables)

    @staticmethod
    def fit(trees: Trees) -> bool:
        """Say whether every tree is small enough."""
        ends = np.append(trees.roots[1:], len(trees.left))
        return bool(((ends - trees.roots) // 2).max() <= MOST_SPLITS)

    def contributions(self, features: npt.NDArray[np.float32]) -> Floats:
        """Return what each column adds, and last the mean score of the training rows: [N, columns + 1]."""
        found = np.zeros((features.shape[1] + 1, len(features)))
        found[-1] = self._mean
        for start in range(0, len(features), _BLOCK_ROWS):
            block = slice(start, start + _BLOCK_ROWS)
            self._add(np.ascontiguousarray(features[block].T), found[:, block])
        return np.ascontiguousarray(found.T)

    def _add(self, columns: npt.NDArray[np.float32], found: Floats) -> None:
        for table in self._tables:
            pattern = np.zeros(columns.shape[1], dtype=np.int64)
            for at, split in enumerate(table.splits):
                values = columns[split.column]
                # a comparison with NaN is false: unknown goes left where it is "not above"
                is_above, is_below = values > split.threshold, values <= split.threshold
                goes_left = ~is_above if split.missing_left else is_below
                pattern |= goes_left.astype(np.int64) << at
            for column, added in zip(table.columns, table.added, strict=True):
                found[column] += added[pattern]


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
        share = np.ones(len(own))  # of the training rows that agree, split by split
        for at, child in path:
            slot = own.index(int(trees.feature[at]))
            agrees[slot] &= goes_left[at] == (child == trees.left[at])
            share[slot] *= trees.cover[child] / trees.cover[at]
        added[np.searchsorted(columns, own)] += trees.value[leaf] * _shapley(agrees, share)
        mean += trees.value[leaf] * float(share.prod())
    return _Table(splits, columns, added, mean)


def _shapley(agrees: npt.NDArray[np.bool_], share: Floats) -> Floats:
    """Return each column's Shapley value in the game of one leaf, [columns, patterns].

    A coalition's worth is the product over its columns of 1 or 0, whether the row agrees, and over the others
    of their share. The mean over all coalitions is the integral of a polynomial in the chance of a column
    to be in one; Gauss and Legendre's points make it exact.
    """
    points, weights = np.polynomial.legendre.leggauss(len(share) // 2 + 1)
    total = np.zeros(agrees.shape)
    for chance, weight in zip((points + 1) / 2, weights / 2, strict=True):
        factor = share[:, None] * (1 - chance) + agrees * chance
        total += weight * factor.prod(axis=0) / factor
    return np.asarray(total * (agrees - share[:, None]))


def _leaves(trees: Trees, root: int) -> list[tuple[int, list[tuple[int, int]]]]:
    """Return each leaf with its path: the nodes that split, each with the child that the path takes."""
    found: list[tuple[int, list[tuple[int, int]]]] = []
    stack: list[tuple[int, list[tuple[int, int]]]] = [(root, [])]
    while stack:
        at, path = stack.pop()
        if trees.left[at] < 0:
            found.append((at, path))
        else:
            children = (int(trees.left[at]), int(trees.right[at]))
            stack += [(child, [*path, (at, child)]) for child in children]
    return found
