import dataclasses
import datetime as dt
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn.errors import ChurnError
from churn.lake.files import TIMESTAMP, lake_file, lake_folder, schema_of
from churn.lake.point_in_time import ViewRequest, join
from churn.months import Month
from tests.kit.random_lakes import (
    ASKED,
    DAY,
    FEATURES,
    VIEWS,
    Asked,
    answer_by_hand,
    lake_of,
    lakes,
    row,
    write_lake,
)

JANUARY, FEBRUARY = Month.parse("2024-01"), Month.parse("2024-02")
SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("event_timestamp", TIMESTAMP),
        ("known_by", TIMESTAMP),
        ("label", pa.int64()),
    ]
)
CUT_OFFS = [None, "event_timestamp", "known_by"]


def wanted(folder: Path, ttl: dt.timedelta | None = 27 * DAY) -> list[ViewRequest]:
    return [
        ViewRequest(
            lake_folder(view, folder),
            {feature.name: feature.name for feature in view.features},
            pa.schema([schema_of(view).field(feature.name) for feature in view.features]),
            "user_id",
            ttl // dt.timedelta(microseconds=1) if ttl else None,
        )
        for view in VIEWS
    ]


def entities(asked: list[Asked]) -> pa.Table:
    return pa.Table.from_pylist([dataclasses.asdict(row) for row in asked], schema=SCHEMA)


@given(
    lakes(),
    ASKED,
    st.sampled_from([None, 27 * DAY, 45 * DAY]),
    st.sampled_from(CUT_OFFS),
    st.booleans(),
)
def test_the_join_is_what_looking_at_every_row_gives(
    tmp_path_factory, lake, asked, ttl, cut_off, in_order
) -> None:
    folder = tmp_path_factory.getbasetemp() / "point_in_time"
    write_lake(lake, folder)
    if in_order:
        asked = sorted(asked, key=lambda row: row.event_timestamp)
    joined = join(entities(asked), wanted(folder, ttl), "event_timestamp", cut_off)
    known_by = [getattr(one, cut_off) if cut_off else None for one in asked]
    by_hand = [
        (*dataclasses.astuple(one), *answer_by_hand(lake, one, ttl, known))
        for one, known in zip(asked, known_by, strict=True)
    ]
    assert joined.column_names == [*SCHEMA.names, *FEATURES]
    assert sorted(_tuples(joined), key=repr) == sorted(by_hand, key=repr)
    if in_order:
        assert _tuples(joined) == by_hand


def _tuples(table: pa.Table) -> list[tuple]:
    return [tuple(row.values()) for row in table.to_pylist()]


def test_rows_of_no_time_or_no_user_get_nulls(tmp_path) -> None:
    write_lake(lake_of(row("a", JANUARY, 1)), tmp_path)
    asked = pa.table(
        [["a", "a", None], [JANUARY.as_of, None, JANUARY.as_of], [None] * 3, [1, 2, 3]],
        schema=SCHEMA,
    )
    joined = join(asked, wanted(tmp_path), "event_timestamp", "event_timestamp")
    answer = dict(
        zip(joined["label"].to_pylist(), joined["failed_payments_90d"].to_pylist(), strict=True)
    )
    assert answer == {1: 1, 2: None, 3: None}


def test_no_rows_give_no_rows_with_every_column(tmp_path) -> None:
    write_lake(lake_of(row("a", JANUARY, 1)), tmp_path)
    joined = join(entities([]), wanted(tmp_path), "event_timestamp", None)
    assert joined.num_rows == 0
    assert joined.column_names == [*SCHEMA.names, *FEATURES]
    assert joined.schema.field("failed_payments_90d").type == pa.int64()


def test_files_of_other_months_are_not_opened(tmp_path) -> None:
    write_lake(lake_of(row("a", JANUARY, 1), row("a", FEBRUARY, 2)), tmp_path)
    for view in VIEWS:
        lake_file(view, FEBRUARY, tmp_path).write_bytes(b"no Parquet")
    asked = entities([Asked("a", JANUARY.as_of, JANUARY.as_of, 0)])
    joined = join(asked, wanted(tmp_path), "event_timestamp", None)
    assert joined["failed_payments_90d"].to_pylist() == [1]


def test_an_empty_lake_is_refused_with_the_remedy(tmp_path) -> None:
    with pytest.raises(ChurnError, match=r"no month of this view\n  -> materialize"):
        join(entities([]), wanted(tmp_path), "event_timestamp", None)


def test_a_file_in_the_folder_of_another_month_is_refused(tmp_path) -> None:
    write_lake(lake_of(row("a", JANUARY, 1)), tmp_path)
    for view in VIEWS:
        moved = lake_file(view, FEBRUARY, tmp_path)
        moved.parent.mkdir()
        lake_file(view, JANUARY, tmp_path).rename(moved)
    asked = entities([Asked("a", FEBRUARY.as_of, FEBRUARY.as_of, 0)])
    with pytest.raises(ChurnError, match="not every row is of as_of 2024-02-29"):
        join(asked, wanted(tmp_path), "event_timestamp", None)


def test_a_file_older_than_a_feature_has_nulls(tmp_path) -> None:
    write_lake(lake_of(row("a", JANUARY, 1)), tmp_path)
    path = lake_file(VIEWS[0], JANUARY, tmp_path)
    pq.write_table(pq.ParquetFile(path).read().drop_columns("failed_payments_90d"), path)
    asked = entities([Asked("a", JANUARY.as_of, JANUARY.as_of, 0)])
    joined = join(asked, wanted(tmp_path), "event_timestamp", None)
    assert joined["failed_payments_90d"].to_pylist() == [None]
    assert joined["failed_payments_90d"].type == pa.int64()
    assert joined["support_tickets_90d"].to_pylist() == [1]


def test_a_file_of_before_a_wider_type_is_read_as_of_that(tmp_path) -> None:
    write_lake(lake_of(row("a", JANUARY, 1)), tmp_path)
    path = lake_file(VIEWS[0], JANUARY, tmp_path)
    rows = pq.ParquetFile(path).read()
    at = rows.schema.get_field_index("failed_payments_90d")
    narrow = rows["failed_payments_90d"].cast(pa.int32())
    pq.write_table(rows.set_column(at, "failed_payments_90d", narrow), path)
    asked = entities([Asked("a", JANUARY.as_of, JANUARY.as_of, 0)])
    joined = join(asked, wanted(tmp_path), "event_timestamp", None)
    assert joined["failed_payments_90d"].type == pa.int64()
