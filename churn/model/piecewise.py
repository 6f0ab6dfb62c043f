"""Numeric columns as piecewise linear functions: a line that bends at quantiles, and a flag for unknown."""

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from churn.arrays import Floats


class PiecewiseLinear(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Turn each column into its value, its excess over each inner quantile, and whether it is unknown.

    Unknown values become the median. Value and excess are divided by the column's standard deviation.
    """

    def __init__(self, pieces: int = 6) -> None:
        self.pieces = pieces

    def fit(self, values: Any, labels: Any = None) -> Self:
        """Find each column's quantiles; an unknown or constant column has none.

        Args:
            values: [N, columns], NaN for unknown.
            labels: not used.
        """
        table = np.asarray(values, dtype=np.float64)
        self.knots_: list[Floats] = []
        self.fill_, self.scale_ = np.zeros(table.shape[1]), np.ones(table.shape[1])
        steps = np.linspace(0, 1, self.pieces + 1)
        for at, column in enumerate(table.T):
            known = column[~np.isnan(column)]
            cuts = np.unique(np.quantile(known, steps, method="nearest")) if len(known) else known
            self.knots_.append(cuts[1:-1])
            if len(cuts) > 1:
                self.scale_[at] = known.std()
            if len(known):
                self.fill_[at] = np.median(known)
        return self

    def transform(self, values: Any) -> Floats:
        """Return the parts of all columns side by side, [N, parts]."""
        table = np.asarray(values, dtype=np.float64)
        unknown = np.isnan(table)
        filled = np.where(unknown, self.fill_, table)
        parts: list[Floats] = []
        for at, knots in enumerate(self.knots_):
            excess = np.maximum(0, filled[:, [at]] - knots)
            parts += [filled[:, [at]] / self.scale_[at], excess / self.scale_[at], unknown[:, [at]]]
        return np.concatenate(parts, axis=1) if parts else np.empty((len(table), 0))
