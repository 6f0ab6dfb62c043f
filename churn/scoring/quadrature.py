"""Shapley values of deep trees: every leaf adds to every column, summed over a few points of an integral.

The worth of a coalition is a product over the columns of a leaf's path, and a Shapley value the integral of
a polynomial in the chance of a column to be in a coalition. At the points of Gauss and Legendre it is exact
up to twice as many columns on one path as there are points, and beyond that as good as exact. Each split is
one multiplication on the way down and one sum on the way up (Quadrature TreeSHAP, Wettenstein et al., 2026).
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from churn.model.onnx_graph import floor32
from churn.model.trees import Trees
from churn.scoring.quadrature_kernels import POINTS, Edges, explain, lay_out
from churn.settings import get_settings

Floats = npt.NDArray[np.float64]


class Quadrature:
    """Explains trees of any depth."""

    def __init__(self, trees: Trees) -> None:
        self._edges = _edges(trees)
        self._mean = float((trees.value * _reach(trees))[trees.is_leaf].sum())

    def contributions(self, features: npt.NDArray[np.float32]) -> Floats:
        """Return what each column adds, and last the mean score of the training rows: [N, columns + 1]."""
        found = np.zeros((len(features), features.shape[1] + 1))
        found[:, -1] = self._mean
        threads = get_settings().n_jobs
        parts = zip(np.array_split(features, threads), np.array_split(found, threads), strict=True)
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda part: explain(self._edges, *part), parts))
        return found


def _edges(trees: Trees) -> Edges:
    """Return the edges of all trees, with what a row's turn at each does to the integrand at each point."""
    *walked, before, after = lay_out(
        trees.roots, trees.left, trees.right, trees.feature, floor32(trees.threshold),
        trees.missing_left, trees.value, trees.cover,
    )  # fmt: skip
    points, weights = np.polynomial.legendre.leggauss(POINTS)
    chance, weight = (points + 1) / 2, weights / 2
    before, after = before[:, None], after[:, None]
    factor, agrees = (share + (1 - share) * chance for share in (before, after))
    disagrees = after * (1 - chance)
    grows = [disagrees / factor, agrees / factor, after / before + np.zeros_like(factor)]
    slope = (1 - before) / factor
    moves = [-1 / (1 - chance) - slope, (1 - after) / agrees - slope, np.zeros_like(factor)]
    return Edges._make([*walked, np.stack(grows, axis=1), np.stack(moves, axis=1) * weight])


def _reach(trees: Trees) -> Floats:
    """Return the share of a tree's training rows that reach each node."""
    begins = np.zeros(len(trees.left), dtype=np.int64)
    begins[trees.roots[1:]] = 1
    share: Floats = trees.cover / trees.cover[trees.roots][np.cumsum(begins)]
    return share
