"""What every figure refuses to be made of: nothing, NaN, or one class only."""

import numpy as np
import numpy.typing as npt

from churn.errors import ChurnError

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


def require_judgeable(labels: npt.ArrayLike, *scores: npt.ArrayLike) -> None:
    """Raise a ChurnError unless `labels` hold both classes and each of `scores` is finite and as long."""
    said = np.asarray(labels)
    if said.size == 0:
        raise ChurnError("there are no users to judge on", where="evaluation")
    left = int((said == 1).sum())
    stayed = int((said == 0).sum())
    if left + stayed != said.size:
        raise ChurnError(
            f"{said.size - left - stayed} labels are neither 0 nor 1", where="evaluation"
        )
    if not left or not stayed:
        raise ChurnError(
            f"{left} users who left, {stayed} who stayed: both are needed",
            where="evaluation",
            remedy="take more users, or another month",
        )
    for each in scores:
        values = np.asarray(each, dtype=np.float64)
        if values.shape != said.shape:
            raise ChurnError(
                f"{values.size} probabilities for {said.size} labels", where="evaluation"
            )
        if not np.isfinite(values).all():
            raise ChurnError(
                f"{int((~np.isfinite(values)).sum())} probabilities are not numbers",
                where="evaluation",
            )
