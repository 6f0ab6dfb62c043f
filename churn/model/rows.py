"""Who is held out, who is sampled: decided by a hash of the user, the same in every month.

The rows of a training set as a model sees them: encoded, sorted, split by user.

Windows of months: what is fitted on several, and the users that judge it; kept apart, and proved so.

The rows of several months that one candidate of a month is fitted on, and where they come from.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from churn.contract.in_force import DEFAULT_SERVICE, services_within
from churn.contract.structure import Service
from churn.errors import ChurnError
from churn.model.encode import model_frame
from churn.months import Month, months_between
from churn.settings import get_settings
from churn.training.dataset import TrainingSet, lineage, read_training_set, training_set_path

if TYPE_CHECKING:
    import pandas as pd


HOLDOUT_SHARE = 0.25
SAMPLE_LIMIT = 100_000
# Changing a salt moves users between the sets: models before and after are no longer comparable.
_HOLDOUT_SALT = "streamflow-holdout-1:"
_SAMPLE_SALT = "streamflow-sample-1:"  # another one, or the sample would not be free of the split

_logger = logging.getLogger(__name__)

UserIds = Sequence[str] | npt.NDArray[Any]


def user_hashes(user_ids: UserIds, salt: str) -> npt.NDArray[np.uint64]:
    """Return a number per user that nothing but the user and the salt decide."""
    prefix = hashlib.sha256(salt.encode())

    def first_bytes(user_id: str) -> bytes:
        digest = prefix.copy()
        digest.update(user_id.encode())
        return digest.digest()[:8]

    joined = b"".join(first_bytes(str(user_id)) for user_id in user_ids)
    return np.frombuffer(joined, dtype=">u8").astype(np.uint64)


def is_holdout(user_ids: UserIds) -> npt.NDArray[np.bool_]:
    """Say which users are never trained on: a permanent quarter of them."""
    return user_hashes(user_ids, _HOLDOUT_SALT) < np.uint64(HOLDOUT_SHARE * 2**64)


def user_sample(user_ids: UserIds, limit: int = SAMPLE_LIMIT) -> npt.NDArray[np.bool_]:
    """Say which users to fit on: all of them up to `limit`, else the `limit` of lowest hash.

    The choice does not depend on the order of the users, and hardly changes from month to month.
    """
    chosen = np.ones(len(user_ids), dtype=bool)
    if len(user_ids) > limit:
        order = np.lexsort((np.asarray(user_ids, dtype=str), user_hashes(user_ids, _SAMPLE_SALT)))
        chosen[order[limit:]] = False
        _logger.info("fitting on a fixed sample of %d of %d users", limit, len(user_ids))
    return chosen



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




def months_with_training_set(first: Month, last: Month) -> list[Month]:
    """Return the months from `first` to `last` that have one; a month without is a hole, not filled."""
    return [month for month in months_between(first, last) if training_set_path(month).is_file()]


def service_within(months: Sequence[Month], name: str = DEFAULT_SERVICE.name) -> Service:
    """Return the newest version of a feature service that the training set of every month is as new as."""
    import pyarrow.parquet as pq

    columns = [set(pq.read_schema(training_set_path(month)).names) for month in months]
    within = services_within(set.intersection(*columns))
    return next(service for service in within if service.name == name)


@dataclass(frozen=True)
class Judges:
    """The hold-out users of the judged month, and the share of all users that they are."""

    month: Month
    frame: "pd.DataFrame"
    share: float

    @classmethod
    def of(cls, month: Month) -> "Judges":
        """Read them from the month's training set."""
        frame = _read(month)
        held = is_holdout(frame["user_id"].to_numpy())
        return cls(month, frame[held].reset_index(drop=True), float(held.mean()))


def window(
    months: Sequence[Month], judges: Judges, service: Service, *, limit: int = SAMPLE_LIMIT
) -> Rows:
    """Pool the training users' rows of some months; the hold-out is the judges, of a month after them.

    Args:
        months: to train on, all before the judged one.
        judges: hold-out users of the judged month.
        service: the features to use.
        limit: above this many rows, those of the users of lowest hash.

    Raises:
        ChurnError: a month is not before the judged one, or a side is empty or of one class.
    """
    made = _pool(months, judges, service, limit)
    require_apart(made, months, judges.month)
    return made


def pooled(months: Sequence[Month], service: Service, *, limit: int = SAMPLE_LIMIT) -> Rows:
    """Pool the training users' rows of some months; the hold-out is that of the newest of them.

    Raises:
        ChurnError: a side is empty or of one class.
    """
    newest = max(months)
    made = _pool(months, Judges.of(newest), service, limit)
    require_apart(made, [], newest)
    return made


def _pool(months: Sequence[Month], judges: Judges, service: Service, limit: int) -> Rows:
    chosen = _chosen(months, limit)
    parts = [_read(month)[kept] for month, kept in chosen.items()]
    rows = _sorted(parts)
    labels = rows["churn_label"].to_numpy(dtype=np.int64)
    seen = judges.frame.sort_values("user_id", kind="stable")
    refuse_one_class(labels, "training rows")
    return Rows(
        service,
        len(rows) + len(seen),
        model_frame(rows, service).set_axis(rows["user_id"]),
        labels,
        model_frame(seen, service).set_axis(seen["user_id"]),
        seen["churn_label"].to_numpy(dtype=np.int64),
        len(months),
        (rows["as_of"] == rows["as_of"].max()).to_numpy(),
    )


def require_apart(rows: Rows, months: Sequence[Month], judged: Month) -> None:
    """Raise a ChurnError where a judged month or user is among those to be trained on."""
    late = [str(month) for month in months if month >= judged]
    if late:
        raise ChurnError(
            f"{', '.join(late)} would be trained on, and {judged} is judged", where="backtest"
        )
    both = rows.features.index.intersection(rows.holdout.index)
    if len(both):
        raise ChurnError(f"{len(both)} users would be trained on and judge", where="backtest")


def _chosen(months: Sequence[Month], limit: int) -> dict[Month, npt.NDArray[np.bool_]]:
    """Say which rows of each month to train on; only the ids are read, however many months."""
    import pyarrow.parquet as pq

    ids = [
        pq.read_table(training_set_path(month), columns=["user_id"])["user_id"].to_numpy()
        for month in sorted(months)
    ]
    kept = [~is_holdout(users) for users in ids]
    pooled = np.concatenate([users[k] for users, k in zip(ids, kept, strict=True)]).astype(str)
    sample = user_sample(pooled, limit)
    start = 0
    for each in kept:
        size = int(each.sum())
        each[each] = sample[start : start + size]
        start += size
    return dict(zip(sorted(months), kept, strict=True))


def _read(month: Month) -> "pd.DataFrame":
    import pyarrow.parquet as pq

    frame: pd.DataFrame = pq.read_table(training_set_path(month)).to_pandas()
    return frame


def _sorted(parts: Sequence["pd.DataFrame"]) -> "pd.DataFrame":
    import pandas as pd

    return pd.concat(parts).sort_values(["user_id", "as_of"], kind="stable", ignore_index=True)




@dataclass(frozen=True)
class Wider:
    """Rows of the default feature service, and the way back from them to each month's files."""

    rows: Rows
    fingerprint: str  # of the fingerprints of their training sets
    origin: dict[
        str, Any
    ]  # the newest month's lineage, with those of the months before as `window`


def wider_rows(newest: TrainingSet) -> Wider | None:
    """Pool CHURN_CANDIDATE_MONTHS months up to the newest, as far as they have a training set.

    Returns:
        None where the newest month is alone.
    """
    settings = get_settings()
    first = max(newest.month.shift(1 - settings.candidate_months), settings.first_month)
    before = months_with_training_set(first, newest.month.shift(-1))
    if not before:
        return None
    fingerprints, window = [], []
    for each in map(read_training_set, before):  # one in memory at a time
        fingerprints.append(each.fingerprint)
        window.append(lineage(each))
    months = [*before, newest.month]
    return Wider(
        pooled(months, service_within(months)),
        hashlib.sha256(" ".join([*fingerprints, newest.fingerprint]).encode()).hexdigest(),
        lineage(newest) | {"window": window},
    )


