"""The rows of a training set as a model sees them: encoded, sorted, and split by user.

A hash of the user decides who is held out and who is sampled, so it is the same in every month. Rows of
several months together are `windows.py`.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from churn.arrays import Bools, Labels
from churn.contract.structure import Service
from churn.errors import ChurnError
from churn.model.encode import model_frame

if TYPE_CHECKING:
    import pandas as pd


HOLDOUT_SHARE = 0.25
SAMPLE_LIMIT = 100_000
# Changing a salt moves users between the sets: models before and after are no longer comparable.
_HOLDOUT_SALT = "streamflow-holdout-1:"
# Not the hold-out's salt, with which the sample would depend on the split.
_SAMPLE_SALT = "streamflow-sample-1:"

_logger = logging.getLogger(__name__)

UserIds = Sequence[str] | npt.NDArray[Any]


def user_hashes(user_ids: UserIds, salt: str) -> npt.NDArray[np.uint64]:
    """Return a number per user that depends on nothing but the user and the salt, [N]."""
    prefix = hashlib.sha256(salt.encode())

    def first_bytes(user_id: str) -> bytes:
        digest = prefix.copy()
        digest.update(user_id.encode())
        return digest.digest()[:8]

    joined = b"".join(first_bytes(str(user_id)) for user_id in user_ids)
    return np.frombuffer(joined, dtype=">u8").astype(np.uint64)


def is_holdout(user_ids: UserIds) -> Bools:
    """Return which users are never trained on: a permanent quarter of them."""
    return user_hashes(user_ids, _HOLDOUT_SALT) < np.uint64(HOLDOUT_SHARE * 2**64)


def user_sample(user_ids: UserIds, limit: int = SAMPLE_LIMIT) -> Bools:
    """Return which users to fit on: all of them up to `limit`, otherwise the `limit` with the lowest hashes.

    The choice does not depend on the order of the users, and hardly changes from month to month.
    """
    chosen = np.ones(len(user_ids), dtype=bool)
    if len(user_ids) > limit:
        order = np.lexsort((np.asarray(user_ids, dtype=str), user_hashes(user_ids, _SAMPLE_SALT)))
        chosen[order[limit:]] = False
        _logger.info("fitting on a fixed sample of %d of %d users", limit, len(user_ids))
    return chosen


# Up to this many rows, one thread is fastest, and small trees are as good as larger ones.
FEW_ROWS = 20_000


@dataclass(frozen=True)
class Rows:
    """Encoded features and labels of the rows to fit on and of those held out, each sorted by user_id.

    `total` is the number of rows of the training set, the hold-out included. `features` are the rows to fit
    on, indexed by user_id; above the sample limit they are fewer than the rows not held out. They come from
    `months` label periods; `newest` marks those of the newest one, and None means all.
    """

    service: Service
    total: int
    features: "pd.DataFrame"
    labels: Labels
    holdout: "pd.DataFrame"
    holdout_labels: Labels
    months: int = 1
    newest: Bools | None = None

    @property
    def judges(self) -> Bools:
        """Which of the rows to fit on judge a candidate out of fold: those of the newest month."""
        return np.ones(len(self.labels), dtype=bool) if self.newest is None else self.newest


def prepare(
    training_set: "pd.DataFrame", service: Service, *, sample_limit: int = SAMPLE_LIMIT
) -> Rows:
    """Encode and split a training set; the same rows give the same result, whatever order they come in.

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
