"""The rows of a training set as a model sees them: encoded, sorted, split by user."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from churn.contract.features import Service
from churn.errors import ChurnError
from churn.model.encode import model_frame
from churn.model.split import SAMPLE_LIMIT, is_holdout, user_sample

if TYPE_CHECKING:
    import pandas as pd

Labels = npt.NDArray[np.int64]
FEW_ROWS = 20_000  # up to which one thread is quickest, and small trees are as good as larger ones


@dataclass(frozen=True)
class Rows:
    """Encoded features and labels of those to fit on and of those held out, each sorted by user_id."""

    service: Service
    total: int  # of the training set
    features: "pd.DataFrame"  # to fit on, indexed by user_id; fewer than the rest above the limit
    labels: Labels
    holdout: "pd.DataFrame"
    holdout_labels: Labels
    months: int = 1  # that the rows to fit on are of
    newest: npt.NDArray[np.bool_] | None = None  # of those, the newest month's; None: all

    @property
    def judges(self) -> npt.NDArray[np.bool_]:
        """Which of the rows to fit on judge a candidate, out of fold: those of the newest month."""
        return np.ones(len(self.labels), dtype=bool) if self.newest is None else self.newest


def prepare(
    training_set: "pd.DataFrame", service: Service, *, sample_limit: int = SAMPLE_LIMIT
) -> Rows:
    """Encode and split a training set; the same rows give the same result, in whatever order they come.

    Args:
        training_set: user_id, churn_label and the features of `service`.
        service: the features to use.
        sample_limit: above this many training rows, fit on a fixed sample of users.

    Raises:
        ChurnError: users are repeated, or a side of the split is empty or of one class only.
    """
    import pandas as pd

    rows = training_set.sort_values("user_id", kind="stable")
    users = pd.Index(rows["user_id"])
    if not users.is_unique:
        repeated = sorted(set(users[users.duplicated()]))[:3]
        raise ChurnError(f"users are repeated: {', '.join(repeated)}", where="training set")
    labels = rows["churn_label"].to_numpy(dtype=np.int64)
    features = model_frame(rows, service).set_axis(users)
    held = is_holdout(users.to_numpy())
    refuse_one_class(labels[~held], "training rows")
    refuse_one_class(labels[held], "hold-out rows")
    fit_on = np.flatnonzero(~held)[user_sample(users[~held].to_numpy(), sample_limit)]
    refuse_one_class(labels[fit_on], "sampled training rows")
    return Rows(
        service, len(rows), features.iloc[fit_on], labels[fit_on], features[held], labels[held]
    )


def refuse_one_class(labels: Labels, where: str) -> None:
    """Raise a ChurnError unless somebody left and somebody stayed."""
    stayed, left = int((labels == 0).sum()), int((labels == 1).sum())
    if not stayed or not left:
        raise ChurnError(
            f"{left} users who left, {stayed} who stayed: both are needed",
            where=where,
            remedy="check the labels of the month, or take more users",
        )
