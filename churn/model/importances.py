"""How much each feature matters to a fitted model, as shares that add up to 1."""

from collections.abc import Iterable, Sequence

import numpy as np

from churn.contract.features import Service
from churn.model.additive import Additive
from churn.model.boosting import categories_of
from churn.model.encode import onnx_inputs
from churn.model.fitted import Fitted, Floats


def importances(fitted: Fitted) -> dict[str, float]:
    """Return each feature's share, highest first.

    Of a forest: how much purer its splits make the leaves; of boosting: the gain of its splits; of a
    logistic regression: how far its curve moves the log odds of those held out.
    """
    service = fitted.service
    if fitted.kind == "logistic":
        curves = Additive.of(fitted.pipeline).curves(onnx_inputs(fitted.holdout, service))
        spread = np.abs(curves - np.median(curves, axis=0)).mean(axis=0)
        return _shares(zip([*service.categorical_cols, *service.numeric_cols], spread, strict=True))
    if fitted.kind == "forest":
        columns = _columns(fitted, service.numeric_cols)
        return _shares(zip(columns, fitted.pipeline["forest"].feature_importances_, strict=True))
    columns = _columns(fitted, list(fitted.pipeline["encode"].transformers_[1][2]))
    return _shares(zip(columns, _gains(fitted, len(columns)), strict=True), service)


def _columns(fitted: Fitted, numbers: Sequence[str]) -> list[str]:
    """Return the feature that each column of the trees comes from."""
    known = zip(fitted.service.categorical_cols, categories_of(fitted.pipeline), strict=True)
    return [name for name, categories in known for _ in categories] + list(numbers)


def _gains(fitted: Fitted, columns: int) -> Floats:
    gains = np.zeros(columns)
    for stage in fitted.pipeline["boosting"]._predictors:
        splits = stage[0].nodes[stage[0].nodes["is_leaf"] == 0]
        np.add.at(gains, splits["feature_idx"], splits["gain"])
    return gains


def _shares(
    values: Iterable[tuple[str, float]], service: Service | None = None
) -> dict[str, float]:
    sums = dict.fromkeys(service.feature_names, 0.0) if service else {}
    for name, value in values:
        sums[name] = sums.get(name, 0.0) + float(value)
    total = sum(sums.values()) or 1.0
    return {
        name: value / total for name, value in sorted(sums.items(), key=lambda i: (-i[1], i[0]))
    }
