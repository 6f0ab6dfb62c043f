"""Random small lakes with corrections, withdrawals and holes; what to ask of them; the answer by hand."""

import datetime as dt
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from churn.contract.structure import View
from churn.lake.files import lake_file, schema_of, write_file
from churn.months import Month, months_between
from tests.kit.streamflow import PAYMENTS_AGG, SUPPORT_AGG

VIEWS = (PAYMENTS_AGG, SUPPORT_AGG)
FEATURES = [feature.name for view in VIEWS for feature in view.features]
TICK, DAY = dt.timedelta(microseconds=1), dt.timedelta(days=1)
_MONTHS = list(months_between(Month.parse("2023-12"), Month.parse("2024-03")))
_USERS = ["a", "b", "c", "d"]
_LATE = [0 * DAY, TICK, 3 * DAY, 40 * DAY, -DAY]  # known_at after as_of; the first is on time
_MOMENTS = [0 * DAY, -TICK, TICK, 10 * DAY, 27 * DAY, 27 * DAY + TICK, 40 * DAY, 90 * DAY]


@dataclass(frozen=True)
class LakeRow:
    user_id: str
    as_of: dt.datetime
    known_at: dt.datetime
    is_withdrawn: bool
    values: tuple[Any, ...]


Lake = dict[str, list[LakeRow]]  # by view


def row(user: str, month: Month, value: int | None, late: dt.timedelta = 0 * DAY) -> list[LakeRow]:
    return [LakeRow(user, month.as_of, month.as_of + late, value is None, (value,))]


def lake_of(*rows: list[LakeRow]) -> Lake:
    """Return a lake whose two views have the same users and versions."""
    payments = [one for some in rows for one in some]
    support = [replace(one, values=(one.values[0], None)) for one in payments]
    return dict(zip((view.name for view in VIEWS), (payments, support), strict=True))


@st.composite
def lakes(draw: st.DrawFn) -> Lake:
    """Every view has one month or more; both views often have the same users and versions."""
    months = draw(st.lists(st.sampled_from(_MONTHS), min_size=1, unique=True))
    keys = draw(_keys(months))
    others = keys if draw(st.booleans()) else draw(_keys(months))
    return {
        view.name: [
            LakeRow(user, month.as_of, month.as_of + late, gone, draw(_values(view, gone)))
            for month, late, user, gone in view_keys
        ]
        for view, view_keys in zip(VIEWS, (keys, others), strict=True)
    }


@st.composite
def _keys(draw: st.DrawFn, months: list[Month]) -> list[tuple[Month, dt.timedelta, str, bool]]:
    rows = []
    for month in draw(st.lists(st.sampled_from(months), min_size=1, unique=True)):
        for late in draw(st.lists(st.sampled_from(_LATE), min_size=1, max_size=3, unique=True)):
            for user in draw(st.lists(st.sampled_from(_USERS), min_size=1, unique=True)):
                rows.append((month, late, user, draw(st.booleans()) and late > DAY))
    return rows


def _values(view: View, gone: bool) -> st.SearchStrategy[tuple[Any, ...]]:
    number = st.integers(0, 99)
    kinds = {"Int64": number, "Float32": number.map(float), "Float64": number.map(float)}
    return st.tuples(*(st.none() if gone else st.none() | kinds[f.dtype] for f in view.features))


@dataclass(frozen=True)
class Asked:
    user_id: str
    event_timestamp: dt.datetime
    known_by: dt.datetime
    label: int


_TIMES = st.builds(
    lambda month, after: month.as_of + after, st.sampled_from(_MONTHS), st.sampled_from(_MOMENTS)
)
ASKED = st.lists(
    st.builds(Asked, st.sampled_from([*_USERS, "nobody"]), _TIMES, _TIMES, st.integers(0, 1)),
    min_size=1,
    max_size=12,
)


def write_lake(lake: Lake, folder: Path) -> None:
    """Write a lake as the pipeline does, in place of what was there."""
    for old in folder.rglob("*.parquet"):
        old.unlink()
    for view in VIEWS:
        rows = sorted(lake[view.name], key=lambda r: (r.user_id, r.known_at))
        for month in {Month.of_as_of(row.as_of) for row in rows}:
            cells = [
                [r.user_id, r.as_of, r.known_at, r.is_withdrawn, *r.values]
                for r in rows
                if r.as_of == month.as_of
            ]
            columns = [list(column) for column in zip(*cells, strict=True)]
            write_file(pa.table(columns, schema=schema_of(view)), lake_file(view, month, folder))


def answer_by_hand(
    lake: Lake, asked: Asked, ttl: dt.timedelta | None, known_by: dt.datetime | None
) -> tuple[Any, ...]:
    """Look at every row of the lake: the newest of the user that is visible answers."""
    values: list[Any] = []
    for view in VIEWS:
        visible = [
            row
            for row in lake[view.name]
            if row.user_id == asked.user_id
            and row.as_of <= asked.event_timestamp
            and (ttl is None or asked.event_timestamp <= row.as_of + ttl)
            and (known_by is None or row.known_at <= known_by)
        ]
        newest = max(visible, key=lambda row: (row.as_of, row.known_at), default=None)
        values += newest.values if newest else [None] * len(view.features)
    return tuple(values)
