"""An additive model as arrays: one curve per feature, which add up to the log odds. No fitting here."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from churn.model.encode import Inputs

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Additive:
    """log odds = intercept + a curve of each feature; categories first, then numbers."""

    intercept: float
    categories: list[list[str]]
    category_weights: list[Floats]
    fill: Floats  # per number: what unknown becomes
    weight: Floats
    unknown_weight: Floats
    hinge_column: npt.NDArray[np.int64]  # per hinge: the number that it bends
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
