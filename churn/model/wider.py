"""The rows of several months that one candidate of a month is fitted on, and where they come from."""

import hashlib
from dataclasses import dataclass
from typing import Any

from churn.model.rows import Rows
from churn.model.windows import months_with_training_set, pooled, service_within
from churn.settings import get_settings
from churn.training.dataset import TrainingSet, read_training_set
from churn.training.lineage import lineage


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
