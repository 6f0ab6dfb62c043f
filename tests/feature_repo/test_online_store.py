"""Feast's own contract of an online store, as its universal tests exercise it, on the wide table."""

import asyncio
import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
from feast import FeatureStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

from churn.contract.in_force import BASELINE, DEFAULT_SERVICE, VIEWS
from churn.database import connect
from churn.online.publish import publish
from churn.online.read import online_state
from churn.settings import Settings
from feature_repo.online_store import WideRowOnlineStore
from feature_repo.store import apply_features, open_store
from tests.kit.snapshot_rows import FEBRUARY, JANUARY, LATER, put_profile
from tests.kit.streamflow import PAYMENTS_AGG, SUBS_PROFILE, USAGE_AGG

VALUES = {
    "months_active": Value(int64_val=2**31 - 1),
    "monthly_fee": Value(float_val=29.85),
    "paperless_billing": Value(bool_val=True),
    "plan_stream_tv": Value(bool_val=False),
    "plan_stream_movies": Value(),
    "net_service": Value(string_val="Fiber optic, 'fast'\t\\ \u00fc"),
}
DAY = dt.timedelta(days=1)


@pytest.fixture
def store(settings: Settings) -> Iterator[FeatureStore]:
    apply_features()
    opened = open_store()
    yield opened
    asyncio.run(opened.close())


@pytest.fixture
def online(store: FeatureStore) -> WideRowOnlineStore:
    return store._get_provider().online_store


def key(user: str) -> EntityKey:
    return EntityKey(join_keys=["user_id"], entity_values=[Value(string_val=user)])


def write(store: FeatureStore, view: str, *rows: tuple[Any, ...]) -> list[int]:
    """Write (user, values, as_of, known_at) by the store's own method; return the reported progress."""
    done: list[int] = []
    data = [(key(user), values, as_of, known_at) for user, values, as_of, known_at in rows]
    store._get_provider().online_store.online_write_batch(
        store.config, store.get_feature_view(view), data, done.append
    )
    return done


def read(store: FeatureStore, view: str, *users: str, features: list[str] | None = None) -> list:
    return store._get_provider().online_store.online_read(
        store.config, store.get_feature_view(view), [key(user) for user in users], features
    )


def test_every_type_and_a_null_come_back_as_written(store: FeatureStore) -> None:
    assert write(store, SUBS_PROFILE.name, ("a", VALUES, JANUARY.as_of, None)) == [1]
    assert read(store, SUBS_PROFILE.name, "a") == [(JANUARY.as_of, VALUES)]


def test_missing_users_and_a_subset_of_features(store: FeatureStore) -> None:
    write(store, SUBS_PROFILE.name, ("a", VALUES, JANUARY.as_of, None))
    wanted = ["net_service", "monthly_fee"]
    answer = read(store, SUBS_PROFILE.name, "x", "a", "x", features=wanted)
    assert answer == [(None, None), (JANUARY.as_of, {n: VALUES[n] for n in wanted}), (None, None)]
    assert read(store, USAGE_AGG.name, "a") == [(None, None)]


def test_a_naive_timestamp_is_utc(store: FeatureStore) -> None:
    naive = JANUARY.as_of.replace(tzinfo=None)
    write(
        store, PAYMENTS_AGG.name, ("a", {"failed_payments_90d": Value(int64_val=1)}, naive, naive)
    )
    assert read(store, PAYMENTS_AGG.name, "a")[0][0] == JANUARY.as_of


def test_an_older_row_is_passed_over_and_a_newer_version_is_not(store: FeatureStore) -> None:
    def fee(value: float) -> dict[str, Value]:
        return VALUES | {"monthly_fee": Value(float_val=value)}

    name, as_of = SUBS_PROFILE.name, FEBRUARY.as_of
    for values, month, known_at, expected in (
        (fee(1), as_of, as_of + DAY, 1),
        (fee(2), JANUARY.as_of, LATER, 1),  # an older month, however late it is known
        (fee(3), as_of, as_of, 1),  # an older version
        (fee(4), as_of, as_of + DAY, 4),  # the same again
        (fee(5), as_of, as_of + 2 * DAY, 5),
    ):
        write(store, name, ("a", values, month, known_at))
        assert read(store, name, "a")[0][1]["monthly_fee"].float_val == expected


def test_of_one_batch_the_newest_row_of_a_user_stays(store: FeatureStore) -> None:
    old, new = ({"failed_payments_90d": Value(int64_val=n)} for n in (1, 2))
    rows = [("a", new, FEBRUARY.as_of, None), ("a", old, JANUARY.as_of, None)]
    assert write(store, PAYMENTS_AGG.name, *rows) == [2]
    assert read(store, PAYMENTS_AGG.name, "a") == [(FEBRUARY.as_of, new)]


def test_views_of_one_month_may_come_in_different_versions(store: FeatureStore) -> None:
    write(store, SUBS_PROFILE.name, ("a", VALUES, JANUARY.as_of, LATER))
    payments = {"failed_payments_90d": Value(int64_val=1)}
    write(store, PAYMENTS_AGG.name, ("a", payments, JANUARY.as_of, JANUARY.as_of))
    assert read(store, PAYMENTS_AGG.name, "a") == [(JANUARY.as_of, payments)]
    assert read(store, SUBS_PROFILE.name, "a") == [(JANUARY.as_of, VALUES)]


def test_a_newer_month_of_one_view_never_stands_beside_an_older_of_another(
    store: FeatureStore,
) -> None:
    put_profile(JANUARY, ["a", "b"])
    publish(JANUARY)
    write(store, SUBS_PROFILE.name, ("a", VALUES, FEBRUARY.as_of, None))
    assert read(store, SUBS_PROFILE.name, "a", "b")[0] == (FEBRUARY.as_of, VALUES)
    assert read(store, USAGE_AGG.name, "a", "b")[0] == (None, None)
    assert read(store, USAGE_AGG.name, "a", "b")[1][0] == JANUARY.as_of
    put_profile(FEBRUARY, ["a"])
    assert online_state(FEBRUARY).mixed == len(VIEWS) - 1
    publish(FEBRUARY)
    assert online_state(FEBRUARY).mixed == 0


def test_materializing_all_views_is_publishing(store: FeatureStore) -> None:
    put_profile(JANUARY, ["a", "b"], monthly_fee=1.0)
    put_profile(FEBRUARY, ["a"], monthly_fee=2.0)
    for month in (FEBRUARY, JANUARY):
        store.materialize(month.as_of - DAY, month.as_of + DAY)
    by_feast = rows()
    with connect() as connection:
        connection.execute("TRUNCATE online.users")
    for month in (JANUARY, FEBRUARY):
        publish(month)
    assert by_feast == rows() != []


def test_without_blocking_the_answers_are_the_same(store: FeatureStore) -> None:
    put_profile(JANUARY, ["a", "b"], monthly_fee=29.85, plan_stream_tv=None)
    publish(JANUARY)
    asked = {
        "features": store.get_feature_service(DEFAULT_SERVICE.name),
        "entity_rows": [{"user_id": user} for user in ("b", "nobody", "a", "b")],
    }
    view = store.get_feature_view(SUBS_PROFILE.name)
    payments = store.get_feature_view(PAYMENTS_AGG.name)
    written = {"failed_payments_90d": Value(int64_val=7)}

    async def not_blocking() -> tuple[Any, ...]:
        provider = store._get_provider()
        answer = await store.get_online_features_async(**asked)
        one = await provider.online_store.online_read_async(store.config, view, [key("a")])
        await provider.online_store.online_write_batch_async(
            store.config, payments, [(key("a"), written, FEBRUARY.as_of, None)], None
        )
        await store.close()
        return answer.to_dict(), one

    supported = store._get_provider().async_supported.online
    assert (supported.read, supported.write) == (True, True)
    expected = store.get_online_features(**asked).to_dict()
    answer, one = asyncio.run(not_blocking())
    assert answer == expected
    assert one[0][1]["monthly_fee"] == Value(float_val=29.85)
    assert read(store, PAYMENTS_AGG.name, "a") == [(FEBRUARY.as_of, written)]


def test_features_of_several_views_by_name(store: FeatureStore) -> None:
    put_profile(JANUARY, ["a"], monthly_fee=2.5)
    publish(JANUARY)
    names = ["usage_agg_30d_fv:skips_7d", "subs_profile_fv:monthly_fee"]
    answer = store.get_online_features(features=names, entity_rows=[{"user_id": "a"}]).to_dict()
    assert answer == {"user_id": ["a"], "skips_7d": [3], "monthly_fee": [2.5]}


def test_update_clears_a_view_that_is_no_longer_and_keeps_the_others(
    store: FeatureStore, online: WideRowOnlineStore
) -> None:
    put_profile(JANUARY, ["a"])
    publish(JANUARY)
    kept = [store.get_feature_view(view.name) for view in VIEWS if view is not USAGE_AGG]
    gone = store.get_feature_view(USAGE_AGG.name)
    online.update(store.config, [gone], kept, [], [], partial=False)
    assert read(store, USAGE_AGG.name, "a") == [(None, None)]
    assert read(store, SUBS_PROFILE.name, "a")[0][0] == JANUARY.as_of
    online.update(store.config, [], kept, [], [], partial=False)
    assert read(store, SUBS_PROFILE.name, "a")[0][0] == JANUARY.as_of
    online.teardown(store.config, kept, [])
    assert rows() == []


def test_reading_goes_on_when_postgres_has_ended_the_connections(store: FeatureStore) -> None:
    put_profile(JANUARY, ["a"])
    publish(JANUARY)
    service = store.get_feature_service(BASELINE.name)
    asked = {"features": service, "entity_rows": [{"user_id": "a"}]}
    before = store.get_online_features(**asked).to_dict()
    with connect() as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND datname = current_database()"
            " AND query LIKE '%online.%'"
        )
    assert store.get_online_features(**asked).to_dict() == before


def rows() -> list[tuple[Any, ...]]:
    with connect() as connection:
        return connection.execute("SELECT * FROM online.users ORDER BY user_id").fetchall()
