"""Why a user is at risk: what each feature adds to the served model's score; wording.py has the words."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from churn.model.encode import Inputs
from churn.model.fitted import Explainer
from churn.scoring.treeshap import open_tree_shap
from churn.scoring.wording import reason_words

TOP = 3
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Contributions:
    """What each feature adds to each user's score, from the mean user on: sum + base is the score.

    The score is in log odds; a forest's is its share of votes.
    """

    names: list[str]
    values: Floats  # [users, features]
    base: float


@dataclass(frozen=True)
class Reason:
    """One feature's part in a user's risk."""

    feature: str
    value: Any
    usual: Any  # the median, or most frequent value, of the training users
    contribution: float

    @property
    def words(self) -> str:
        """The reason as a person would say it."""
        return reason_words(self.feature, self.value, self.usual, self.contribution)


class Explaining:
    """Explains scores of one version; made once, used for many users."""

    def __init__(self, explainer: Explainer) -> None:
        self.explainer = explainer
        self.names = [*explainer.categorical_cols, *explainer.numeric_cols]
        self._tree_shap = open_tree_shap(explainer.trees) if explainer.trees else None
        self._sentences: dict[tuple[int, Any], str] = {}  # by feature and value

    def contributions(self, inputs: Inputs) -> Contributions:
        """Return what each feature adds to each row's score; exact for the served model."""
        explainer = self.explainer
        if explainer.additive is not None and explainer.centre is not None:
            slope = explainer.calibration.slope
            curves = explainer.additive.curves(inputs) - explainer.centre
            base = explainer.additive.intercept + float(explainer.centre.sum())
            return Contributions(
                self.names, curves * slope, base * slope + explainer.calibration.intercept
            )
        assert explainer.trees is not None  # noqa: S101  (an explainer is one or the other)
        assert self._tree_shap is not None  # noqa: S101
        found = self._tree_shap.contributions(_columns(explainer, inputs))
        per_feature = self._per_feature(found[:, :-1])
        base = explainer.trees.base + float(found[0, -1]) if len(found) else explainer.trees.base
        if explainer.is_share:
            return Contributions(self.names, per_feature, base)
        slope, intercept = explainer.calibration.slope, explainer.calibration.intercept
        return Contributions(self.names, per_feature * slope, base * slope + intercept)

    def words(self, inputs: Inputs) -> list[list[str | None]]:
        """Return for each row exactly TOP sentences, what raises the risk most first; None where fewer do.

        Users share values, and so sentences: each is put together once.
        """
        found = self.contributions(inputs)
        order = np.argsort(-found.values, axis=1, kind="stable")[:, :TOP]
        raises = np.take_along_axis(found.values, order, axis=1) > 0
        return [
            [self._sentence(inputs, row, at) if raised else None for at, raised in columns]
            for row, columns in enumerate(map(zip, order.tolist(), raises.tolist()))
        ]

    def reasons(
        self, inputs: Inputs, *, top: int = TOP, raising: bool = True
    ) -> list[list[Reason]]:
        """Return the strongest reasons of each row, the strongest first.

        Args:
            inputs: the rows, encoded.
            top: how many at most.
            raising: only what raises the risk; else whatever moves it most.
        """
        found = self.contributions(inputs)
        keys = -found.values if raising else -np.abs(found.values)
        order = np.argsort(keys, axis=1, kind="stable")[:, :top]
        return [
            [
                self._reason(inputs, row, at, found.values[row, at])
                for at in columns
                if found.values[row, at] > 0 or not raising
            ]
            for row, columns in enumerate(order)
        ]

    def _sentence(self, inputs: Inputs, row: int, at: int) -> str:
        categories = len(self.explainer.categorical_cols)
        if at < categories:
            value = inputs["categorical"][row, at]
        else:
            value = inputs["numeric"][row, at - categories].item()
            value = None if value != value else value  # NaN is no key: it equals nothing
        if (at, value) not in self._sentences:
            self._sentences[at, value] = self._reason(inputs, row, at, 1.0).words
        return self._sentences[at, value]

    def _reason(self, inputs: Inputs, row: int, at: int, contribution: float) -> Reason:
        name, categories = self.names[at], len(self.explainer.categorical_cols)
        value: Any
        if at < categories:
            value = inputs["categorical"][row, at] or None
        else:
            number = inputs["numeric"][row, at - categories]
            value = None if np.isnan(number) else float(str(number))
        return Reason(name, value, self.explainer.usual.get(name), float(contribution))

    def _per_feature(self, columns: Floats) -> Floats:
        parts, start = [], 0
        for known in self.explainer.categories:
            parts.append(columns[:, start : start + len(known)].sum(axis=1))
            start += len(known)
        return np.column_stack([*parts, columns[:, start:]])


def _columns(explainer: Explainer, inputs: Inputs) -> npt.NDArray[np.float32]:
    """Return the one-hot columns and the numbers, as the trees count them."""
    encoded = [
        (inputs["categorical"][:, [at]] == np.array([known], dtype=object)).astype(np.float32)
        for at, known in enumerate(explainer.categories)
    ]
    return np.concatenate([*encoded, inputs["numeric"]], axis=1).astype(np.float32)
