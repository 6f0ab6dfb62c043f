"""A lake of random months, written straight into files as `churn.lake` has them, and entity rows to join."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from churn.arrays import Bools
from churn.contract.in_force import BASELINE
from churn.contract.structure import Feature, View
from churn.lake.files import ARROW_TYPES, TIMESTAMP, lake_file, microseconds, schema_of, write_file
from churn.months import Month

FIRST = Month.parse("2021-01")
_NET_SERVICES = ["DSL", "Fiber optic", "No"]
_CORRECTED_EVERY_MONTHS = 3
_CORRECTION_AFTER_US = 10 * 86_400 * 1_000_000


def fill_lake(lake: Path, users: int, months: int, seed: int) -> pa.Array:
    """Write the baseline's views for some months; return the ids of all users, sorted.

    In each month, 2 % of the users are missing. Every third month, the last view is corrected ten days later,
    after the cut-off of its training set: all values change, and one user in a hundred is withdrawn.
    """
    rng = np.random.default_rng(seed)
    ids = _user_ids(rng, users)
    for number in range(months):
        month = FIRST.shift(number)
        present = ids.filter(pa.array(rng.random(users) < 0.98))
        for view in BASELINE.views:
            known_at = [0]
            if view is BASELINE.views[-1] and number % _CORRECTED_EVERY_MONTHS == 0:
                known_at.append(_CORRECTION_AFTER_US)
            write_file(_rows(rng, view, month, present, known_at), lake_file(view, month, lake))
    return ids


def write_entity_rows(path: Path, ids: pa.Array, months: int, rows: int, seed: int) -> None:
    """Write `rows` distinct pairs of user and month end, each with a label; in random order unless all."""
    rng = np.random.default_rng(seed)
    every = len(ids) * months
    chosen = np.arange(every) if rows == every else rng.choice(every, rows, replace=False)
    as_of = np.array([microseconds(FIRST.shift(number).as_of) for number in range(months)])
    pq.write_table(
        pa.table(
            {
                "user_id": ids.take(pa.array(chosen % len(ids))),
                "event_timestamp": pa.array(as_of[chosen // len(ids)]).cast(TIMESTAMP),
                "churn_label": pa.array(rng.random(rows) < 0.27),
            }
        ),
        path,
    )


def _user_ids(rng: np.random.Generator, users: int) -> pa.Array:
    """Return distinct ids like 7590-VHVEG."""
    letters = rng.integers(ord("A"), ord("Z") + 1, (2 * users, 10), dtype=np.uint8)
    letters[:, :4] = rng.integers(ord("0"), ord("9") + 1, (2 * users, 4))
    letters[:, 4] = ord("-")
    different = np.unique(letters.view("S10").ravel())
    return pa.array(np.sort(rng.permutation(different)[:users])).cast(pa.string())


def _rows(
    rng: np.random.Generator, view: View, month: Month, users: pa.Array, known_after_us: list[int]
) -> pa.Table:
    """Return one month of a view, sorted by user and version."""
    versions, rows = len(known_after_us), len(users) * len(known_after_us)
    as_of = np.full(rows, microseconds(month.as_of))
    later = np.tile(known_after_us, len(users))
    withdrawn = (later > 0) & (rng.random(rows) < 0.01)
    return pa.table(
        [
            users.take(pa.array(np.repeat(np.arange(len(users)), versions))),
            pa.array(as_of).cast(TIMESTAMP),
            pa.array(as_of + later).cast(TIMESTAMP),
            pa.array(withdrawn),
            *(_values(rng, feature, withdrawn) for feature in view.features),
        ],
        schema=schema_of(view),
    )


def _values(rng: np.random.Generator, feature: Feature, withdrawn: Bools) -> pa.Array:
    rows = len(withdrawn)
    unknown = withdrawn | (rng.random(rows) < 0.05)
    if feature.dtype == "Int64":
        return pa.array(rng.integers(0, 72, rows), mask=unknown)
    if feature.dtype in {"Float64", "Float32"}:
        numbers = rng.integers(0, 12_000, rows).astype(np.float32) / 100
        return pa.array(numbers, mask=unknown).cast(ARROW_TYPES[feature.dtype])
    if feature.dtype == "Bool":
        return pa.array(rng.random(rows) < 0.5, mask=unknown)
    codes = pa.array(rng.integers(0, len(_NET_SERVICES), rows), mask=unknown)
    return pa.array(_NET_SERVICES).take(codes)
