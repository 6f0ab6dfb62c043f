"""Why a user is at risk: what each feature adds to the served model's score; wording.py has the words."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from churn.arrays import Floats, Floats32
from churn.model.encode import Inputs
from churn.model.fitted import Explainer
from churn.scoring.treeshap import open_tree_shap
from churn.scoring.wording import reason_words

TOP = 3


@dataclass(frozen=True)
class Contributions:
    """What each feature adds to each user's score, [users, features].

    `base` is the mean score of the training users; with it, a user's values add up to the score, which is in
    log odds or, of a forest, its share of votes.
    """

    names: list[str]
    values: Floats
    base: float


@dataclass(frozen=True)
class Reason:
    """One feature's part in a user's risk; `usual` is the median or most frequent value of training users."""

    feature: str
    value: Any
    usual: Any
    contribution: float

    @property
    def words(self) -> str:
        """The reason as a person would say it."""
        return reason_words(self.feature, self.value, self.usual, self.contribution)


class Explaining:
    """Explains the scores of one version; opened once, used for many users."""

    def __init__(self, explainer: Explainer) -> None:
        self.explainer = explainer
        self.names = [*explainer.categorical_cols, *explainer.numeric_cols]
        self._tree_shap = open_tree_shap(explainer.trees) if explainer.trees else None
        # By the feature's number and its value.
        self._sentences: dict[tuple[int, Any], str] = {}

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
        added = self._tree_shap.contributions(_columns(explainer, inputs))
        per_feature = self._per_feature(added[:, :-1])
        base = explainer.trees.base + float(added[0, -1]) if len(added) else explainer.trees.base
        if explainer.is_share:
            return Contributions(self.names, per_feature, base)
        slope, intercept = explainer.calibration.slope, explainer.calibration.intercept
        return Contributions(self.names, per_feature * slope, base * slope + intercept)

    def words(self, inputs: Inputs) -> list[list[str | None]]:
        """Return TOP sentences for each row, the strongest reason first; None where fewer raise the risk.

        Users share values, and therefore sentences: each is composed once.
        """
        contributions = self.contributions(inputs)
        order = np.argsort(-contributions.values, axis=1, kind="stable")[:, :TOP]
        raises = np.take_along_axis(contributions.values, order, axis=1) > 0
        return [
            [self._sentence(inputs, row, at) if raised else None for at, raised in columns]
            for row, columns in enumerate(map(zip, order.tolist(), raises.tolist()))
        ]

    def reasons(
        self, inputs: Inputs, *, top: int = TOP, raising: bool = True
    ) -> list[list[Reason]]:
        """Return the strongest reasons of each row, the strongest first.

        Args:
            inputs: the encoded rows.
            top: how many at most.
            raising: only what raises the risk; otherwise whatever moves it most, either way.
        """
        contributions = self.contributions(inputs)
        keys = -contributions.values if raising else -np.abs(contributions.values)
        order = np.argsort(keys, axis=1, kind="stable")[:, :top]
        return [
            [
                self._reason(inputs, row, at, contributions.values[row, at])
                for at in columns
                if contributions.values[row, at] > 0 or not raising
            ]
            for row, columns in enumerate(order)
        ]

    def _sentence(self, inputs: Inputs, row: int, at: int) -> str:
        categories = len(self.explainer.categorical_cols)
        if at < categories:
            value = inputs["categorical"][row, at]
        else:
            value = inputs["numeric"][row, at - categories].item()
            # NaN equals nothing, and so cannot be a key.
            value = None if value != value else value
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


def _columns(explainer: Explainer, inputs: Inputs) -> Floats32:
    """Return the one-hot columns and the numbers, in the order of the trees' columns."""
    encoded = [
        (inputs["categorical"][:, [at]] == np.array([known], dtype=object)).astype(np.float32)
        for at, known in enumerate(explainer.categories)
    ]
    return np.concatenate([*encoded, inputs["numeric"]], axis=1).astype(np.float32)
