"""How much each feature matters to a fitted model: from what its columns say to shares that add up to 1."""

from collections.abc import Iterable, Sequence
from typing import Any

from churn.contract.features import Service
from churn.model.encode import categories_of


def columns_of(pipeline: Any, service: Service, numbers: Sequence[str]) -> list[str]:
    """Return the feature that each column of a fitted pipeline's trees comes from.

    Args:
        pipeline: its categories are one-hot encoded, and come first.
        service: the features.
        numbers: those that follow.
    """
    known = zip(service.categorical_cols, categories_of(pipeline), strict=True)
    return [name for name, categories in known for _ in categories] + list(numbers)


def shares(values: Iterable[tuple[str, float]], service: Service | None = None) -> dict[str, float]:
    """Return each feature's share of all values, highest first.

    Args:
        values: features, each as often as it has columns.
        service: features that are to be there although they have no column.
    """
    sums = dict.fromkeys(service.feature_names, 0.0) if service else {}
    for name, value in values:
        sums[name] = sums.get(name, 0.0) + float(value)
    total = sum(sums.values()) or 1.0
    return {
        name: value / total for name, value in sorted(sums.items(), key=lambda i: (-i[1], i[0]))
    }
