import datetime as dt
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from churn.contract.in_force import CONTRACT, DEFAULT_SERVICE, LABELS
from churn.errors import ChurnError
from churn.lake.files import lake_file, write_file
from churn.training.dataset import (
    TrainingSet,
    build_training_set,
    lineage,
    read_training_set,
    training_set_path,
    with_every_feature,
)
from churn.verification.replay import replay
from feature_repo.store import apply_features
from tests.kit.snapshot_rows import FEBRUARY, JANUARY, LATER, put, put_profile, write_month
from tests.kit.streamflow import PAYMENTS_AGG, USAGE_AGG

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
    training_set = build_training_set(JANUARY)
    assert training_set.rows["user_id"].to_pylist() == ["a", "b", "c", "d"]
    assert training_set.rows.column_names == [
        "user_id",
        "as_of",
        *DEFAULT_SERVICE.feature_names,
        "churn_label",
    ]
    assert training_set.fingerprint == build_training_set(JANUARY).fingerprint
    assert training_set.fingerprint == read_training_set(JANUARY).fingerprint
    first = training_set.path.read_bytes()
    build_training_set(JANUARY)
    assert training_set.path.read_bytes() == first


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


LATER_FEATURE = "rebuffer_events_7d"


@pytest.fixture
def grown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A contract in which one of the features came with version 2 of the services."""
    from churn.training import dataset

    features = [
        replace(feature, since=2) if feature.name == LATER_FEATURE else feature
        for feature in DEFAULT_SERVICE.features
    ]
    monkeypatch.setattr(dataset, "_FEATURES", tuple(features))


@pytest.mark.usefixtures("grown")
def test_a_feature_of_a_later_version_is_a_column_from_the_month_on_that_has_it() -> None:
    put_profile(JANUARY, USERS, rebuffer_events_7d=None, skips_7d=None)
    put_profile(FEBRUARY, USERS, rebuffer_events_7d=3)
    for month in (JANUARY, FEBRUARY):
        put(LABELS, month, USERS)
    before, since = build_training_set(JANUARY), build_training_set(FEBRUARY)
    first = [name for name in DEFAULT_SERVICE.feature_names if name != LATER_FEATURE]
    assert before.rows.column_names == ["user_id", "as_of", *first, "churn_label"]
    assert before.features == lineage(before)["training_set"]["features"] == first
    assert before.blank == ["skips_7d"]  # which was there from the first version on
    assert since.features == DEFAULT_SERVICE.feature_names
    assert since.rows[LATER_FEATURE].to_pylist() == [3] * len(USERS)
    # A release of the later version can score the earlier month all the same.
    whole = with_every_feature(before.rows)
    assert whole[LATER_FEATURE].to_pylist() == [None] * len(USERS)
    assert with_every_feature(since.rows) is since.rows


def test_a_set_that_stands_keeps_its_columns_and_bytes_when_the_contract_grows(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    from churn.training import dataset

    put_profile(JANUARY, USERS, rebuffer_events_7d=3)
    put(LABELS, JANUARY, USERS)
    features = [f for f in DEFAULT_SERVICE.features if f.name != LATER_FEATURE]
    with monkeypatch.context() as before:
        before.setattr(dataset, "_FEATURES", tuple(features))
        training = build_training_set(JANUARY)
    first = training.path.read_bytes()
    request.getfixturevalue("grown")
    # The column was there before it was a feature: the lake has its values of January, too.
    again = build_training_set(JANUARY)
    assert again.fingerprint == training.fingerprint == read_training_set(JANUARY).fingerprint
    assert again.path.read_bytes() == first
    assert replay(JANUARY, again.rows).mismatches == len(USERS)  # one that was always a feature
    training.path.unlink()
    assert build_training_set(JANUARY).features == DEFAULT_SERVICE.feature_names


@pytest.mark.usefixtures("grown")
def test_a_month_of_the_lake_that_is_older_than_a_feature_goes_without_it() -> None:
    put_profile(JANUARY, USERS, rebuffer_events_7d=3)
    put(LABELS, JANUARY, USERS)
    path = lake_file(USAGE_AGG, JANUARY)
    pq.write_table(pq.ParquetFile(path).read().drop_columns(LATER_FEATURE), path)
    assert LATER_FEATURE not in build_training_set(JANUARY).features
    training_set_path(JANUARY).unlink()
    write_month(JANUARY)
    assert LATER_FEATURE in build_training_set(JANUARY).features


def test_a_set_that_stands_keeps_its_types_when_the_contract_gets_wider_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from churn.training import dataset

    put_profile(JANUARY, USERS, rebuffer_events_7d=3)
    put(LABELS, JANUARY, USERS)
    training = build_training_set(JANUARY)
    first = training.path.read_bytes()
    wider = [
        replace(feature, dtype="Float32") if feature.name == LATER_FEATURE else feature
        for feature in DEFAULT_SERVICE.features
    ]
    monkeypatch.setattr(dataset, "_FEATURES", tuple(wider))
    assert build_training_set(JANUARY).fingerprint == training.fingerprint
    assert training.path.read_bytes() == first
    training.path.unlink()
    assert build_training_set(JANUARY).rows.schema.field(LATER_FEATURE).type == pa.float32()


def test_the_contract_that_a_set_was_made_by_stands_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from churn.training import dataset

    put_profile(JANUARY, USERS)
    put(LABELS, JANUARY, USERS)
    assert build_training_set(JANUARY).contract == CONTRACT.fingerprint
    monkeypatch.setattr(dataset, "CONTRACT", replace(CONTRACT, fingerprint="of another day"))
    training = build_training_set(JANUARY)  # the same content: the file stays
    assert training.contract == read_training_set(JANUARY).contract == CONTRACT.fingerprint
    assert lineage(training)["training_set"]["contract"] == CONTRACT.fingerprint
    path = training_set_path(JANUARY)
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    assert read_training_set(JANUARY).contract == ""
