"""Rows of several months together, to fit one candidate on, and the hold-out users to judge it on.

The two are kept apart, and checked to be: nobody whom a model is judged on is among those it was fitted on.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from churn.arrays import Bools
from churn.contract.in_force import DEFAULT_SERVICE, services_within
from churn.contract.structure import Service
from churn.errors import ChurnError
from churn.model.encode import model_frame
from churn.model.rows import SAMPLE_LIMIT, Rows, is_holdout, refuse_one_class, user_sample
from churn.months import Month, months_between
from churn.settings import get_settings
from churn.training.dataset import TrainingSet, lineage, read_training_set, training_set_path

if TYPE_CHECKING:
    import pandas as pd


def months_with_training_set(first: Month, last: Month) -> list[Month]:
    """Return the months from `first` to `last` that have a training set; gaps are not filled."""
    return [month for month in months_between(first, last) if training_set_path(month).is_file()]


def service_within(months: Sequence[Month], name: str = DEFAULT_SERVICE.name) -> Service:
    """Return the newest version of a feature service whose features every month's training set has."""
    import pyarrow.parquet as pq

    columns = [set(pq.read_schema(training_set_path(month)).names) for month in months]
    within = services_within(set.intersection(*columns))
    return next(service for service in within if service.name == name)


@dataclass(frozen=True)
class HeldOut:
    """The hold-out users of a month to judge on, and the share of all users that they are."""

    month: Month
    frame: "pd.DataFrame"
    share: float

    @classmethod
    def of(cls, month: Month) -> "HeldOut":
        """Read the users held out of the month's training set."""
        frame = _read(month)
        held = is_holdout(frame["user_id"].to_numpy())
        return cls(month, frame[held].reset_index(drop=True), float(held.mean()))


def window(
    months: Sequence[Month], held_out: HeldOut, service: Service, *, limit: int = SAMPLE_LIMIT
) -> Rows:
    """Pool the training users' rows of some months, to be judged on the hold-out users of a later month.

    Args:
        months: the months to train on, all before the judged one.
        held_out: the hold-out users of the judged month.
        service: the features to use.
        limit: above this many rows, those of the users with the lowest hashes.

    Raises:
        ChurnError: a month is not before the judged one, or a side is empty or of one class.
    """
    rows = _pool(months, held_out, service, limit)
    require_apart(rows, months, held_out.month)
    return rows


def pooled(months: Sequence[Month], service: Service, *, limit: int = SAMPLE_LIMIT) -> Rows:
    """Pool the training users' rows of some months; the hold-out is that of the newest of them.

    Raises:
        ChurnError: a side is empty or of one class.
    """
    newest = max(months)
    rows = _pool(months, HeldOut.of(newest), service, limit)
    require_apart(rows, [], newest)
    return rows


def _pool(months: Sequence[Month], held_out: HeldOut, service: Service, limit: int) -> Rows:
    chosen = _chosen(months, limit)
    parts = [_read(month)[kept] for month, kept in chosen.items()]
    rows = _sorted(parts)
    labels = rows["churn_label"].to_numpy(dtype=np.int64)
    seen = held_out.frame.sort_values("user_id", kind="stable")
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


def _chosen(months: Sequence[Month], limit: int) -> dict[Month, Bools]:
    """Return which rows of each month to train on; only the ids are read, however many months there are."""
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
class PooledRows:
    """Rows of several months on the default feature service, and where they come from.

    `fingerprint` is the sha256 over the fingerprints of their training sets. `origin` is the newest month's
    lineage, with those of the months before as `window`.
    """

    rows: Rows
    fingerprint: str
    origin: dict[str, Any]


def pooled_rows(newest: TrainingSet) -> PooledRows | None:
    """Pool those of the last CHURN_CANDIDATE_MONTHS months that have a training set.

    Args:
        newest: the training set of the last of them.

    Returns:
        Their rows; None where only the newest month has a training set.
    """
    settings = get_settings()
    first = max(newest.month.shift(1 - settings.candidate_months), settings.first_month)
    before = months_with_training_set(first, newest.month.shift(-1))
    if not before:
        return None
    fingerprints, window = [], []
    # One training set is in memory at a time.
    for each in map(read_training_set, before):
        fingerprints.append(each.fingerprint)
        window.append(lineage(each))
    months = [*before, newest.month]
    return PooledRows(
        pooled(months, service_within(months)),
        hashlib.sha256(" ".join([*fingerprints, newest.fingerprint]).encode()).hexdigest(),
        lineage(newest) | {"window": window},
    )
