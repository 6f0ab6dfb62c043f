import datetime as dt

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from churn.contract.features import DEFAULT_SERVICE
from churn.contract.tables import LABELS
from churn.errors import ChurnError
from churn.lake import lake_file, write_file
from churn.training.dataset import (
    TrainingSet,
    build_training_set,
    read_training_set,
    training_set_path,
)
from feature_repo.store import apply_features
from tests.stages.world import FEBRUARY, JANUARY, LATER, put, put_profile, write_month
from tests.streamflow import PAYMENTS_AGG

USERS = ["b", "a", "d", "c"]


@pytest.fixture(autouse=True)
def registered(settings) -> None:
    apply_features()


def fees(month=JANUARY, as_known=None) -> dict[str, float]:
    rows = build_training_set(month, as_known).rows
    return dict(zip(rows["user_id"].to_pylist(), rows["monthly_fee"].to_pylist(), strict=True))


def test_one_row_per_label_sorted_typed_and_repeatable() -> None:
    put_profile(JANUARY, USERS, monthly_fee=29.85)
    put(LABELS, JANUARY, USERS)
    made = build_training_set(JANUARY)
    assert made.rows["user_id"].to_pylist() == ["a", "b", "c", "d"]
    assert made.rows.column_names == [
        "user_id",
        "as_of",
        *DEFAULT_SERVICE.feature_names,
        "churn_label",
    ]
    assert made.fingerprint == build_training_set(JANUARY).fingerprint
    assert made.fingerprint == read_training_set(JANUARY).fingerprint
    first = made.path.read_bytes()
    build_training_set(JANUARY)
    assert made.path.read_bytes() == first


def test_a_set_that_is_refused_is_not_written() -> None:
    def refuse(training_set: TrainingSet) -> None:
        raise ChurnError(f"{training_set.rows.num_rows} rows are refused")

    put_profile(JANUARY, USERS, monthly_fee=1.0)
    put(LABELS, JANUARY, USERS)
    with pytest.raises(ChurnError, match="4 rows are refused"):
        build_training_set(JANUARY, judge=refuse)
    assert not training_set_path(JANUARY).exists()
    path = build_training_set(JANUARY).path
    written = path.stat().st_mtime_ns
    with pytest.raises(ChurnError, match="are refused"):
        build_training_set(JANUARY, judge=refuse)
    assert path.stat().st_mtime_ns == written


def test_a_row_stamped_exactly_at_the_cut_off_is_seen_and_one_after_is_not() -> None:
    put_profile(JANUARY, USERS, monthly_fee=1.0)
    put(LABELS, JANUARY, USERS)
    just_after = JANUARY.as_of + dt.timedelta(microseconds=1)
    put_profile(JANUARY, USERS, known_at=just_after, monthly_fee=99.0)
    assert set(fees().values()) == {1.0}


def test_a_later_correction_changes_no_training_set_but_can_be_asked_for() -> None:
    put_profile(JANUARY, USERS, monthly_fee=1.0)
    put_profile(FEBRUARY, USERS, monthly_fee=2.0)
    put(LABELS, JANUARY, USERS)
    before = build_training_set(JANUARY).fingerprint
    put_profile(JANUARY, ["a", "b"], known_at=LATER, withdrawn=["c", "d"], monthly_fee=7.0)
    put(LABELS, JANUARY, USERS, known_at=LATER, churn_label=False)
    assert build_training_set(JANUARY).fingerprint == before
    assert fees() == dict.fromkeys("abcd", 1.0)
    assert fees(as_known=LATER) == {"a": 7.0, "b": 7.0}  # January's values, not February's
    assert read_training_set(JANUARY).fingerprint == before


def test_a_user_without_a_row_this_month_is_not_given_last_month_s() -> None:
    put_profile(JANUARY, USERS, watch_hours_30d=11.0)
    put_profile(FEBRUARY, USERS, watch_hours_30d=22.0)
    put(LABELS, FEBRUARY, USERS)
    from churn.database import connect

    with connect() as connection:
        connection.execute(
            "DELETE FROM usage_agg_30d_snapshots WHERE user_id = 'a' AND as_of = %s",
            [FEBRUARY.as_of],
        )
    write_month(FEBRUARY)
    rows = build_training_set(FEBRUARY).rows
    hours = dict(zip(rows["user_id"].to_pylist(), rows["watch_hours_30d"].to_pylist(), strict=True))
    assert hours == {"a": None, "b": 22.0, "c": 22.0, "d": 22.0}


def test_labels_that_have_not_arrived_say_when_they_mature() -> None:
    put_profile(JANUARY, USERS)
    with pytest.raises(ChurnError, match="have not arrived; they mature on 2024-02-29"):
        build_training_set(JANUARY)


def test_labels_known_too_late_are_refused_with_the_remedy() -> None:
    put_profile(JANUARY, USERS)
    put(LABELS, JANUARY, USERS, known_at=LATER)
    with pytest.raises(ChurnError, match=r"churn train --month 2024-01 --as-known 2024-05-10"):
        build_training_set(JANUARY)


def test_features_known_after_the_month_closed_are_refused() -> None:
    put_profile(JANUARY, USERS, known_at=LATER)
    put(LABELS, JANUARY, USERS)
    with pytest.raises(ChurnError, match="users of 2024-01 became known on 2024-05-10"):
        build_training_set(JANUARY)


def test_values_that_were_lost_on_the_way_block_and_name_the_right_file() -> None:
    put_profile(JANUARY, USERS)
    put(LABELS, JANUARY, USERS)
    path = lake_file(PAYMENTS_AGG, JANUARY)
    rows = pq.ParquetFile(path).read()
    at = rows.schema.get_field_index("failed_payments_90d")
    write_file(rows.set_column(at, rows.schema.field(at), pa.nulls(4, pa.int64())), path)
    with pytest.raises(ChurnError, match="they were lost on the way") as refused:
        build_training_set(JANUARY)
    assert str(path) in str(refused.value)
    assert "materialize payments_agg_90d_fv for 2024-01-01 again" in str(refused.value)


@pytest.mark.parametrize("column", ["failed_payments_90d", "total_paid", "net_service"])
def test_a_column_that_was_delivered_blank_stops_nothing_and_is_named(column: str) -> None:
    put_profile(JANUARY, USERS, **{column: None})
    put(LABELS, JANUARY, USERS)
    assert build_training_set(JANUARY).blank == [column]
