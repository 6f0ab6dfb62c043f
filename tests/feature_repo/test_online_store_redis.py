"""Feast's interface where readers are given a copy in Redis."""

import asyncio
from collections.abc import Iterator

import pytest
from feast import FeatureStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

from churn.contract.in_force import DEFAULT_SERVICE
from churn.database import connect
from churn.errors import ChurnError
from churn.online.publish import publish
from churn.settings import Settings
from feature_repo.store import apply_features, open_store
from tests.kit.redis_servers import RedisServers, read_from_redis
from tests.kit.snapshot_rows import FEBRUARY, JANUARY, put_profile
from tests.kit.streamflow import SUBS_PROFILE

USERS = ["a", "b", "nobody"]


@pytest.fixture
def store(
    settings: Settings, redis_server: RedisServers, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FeatureStore]:
    apply_features()
    read_from_redis(monkeypatch, redis_server)
    put_profile(JANUARY, ["a", "b"], monthly_fee=29.85, plan_stream_tv=None)
    put_profile(FEBRUARY, ["a"], monthly_fee=0.1)
    publish(JANUARY)
    publish(FEBRUARY)
    opened = open_store()
    yield opened
    asyncio.run(opened.close())


def test_both_ways_to_read_answer_from_the_copy(store: FeatureStore) -> None:
    service = store.get_feature_service(DEFAULT_SERVICE.name)
    entities = {"user_id": USERS}
    with connect() as connection:
        connection.execute("DELETE FROM online.users")
    answers = store.get_online_features(service, entities).to_dict()
    assert answers["monthly_fee"] == pytest.approx([0.1, 29.85, None])
    assert answers["plan_stream_tv"][1] is None

    async def read() -> dict:
        answer = await store.get_online_features_async(service, entities)
        # Connections are closed in the loop that opened them.
        await store.close()
        return answer.to_dict()

    assert asyncio.run(read()) == answers


def test_a_single_view_is_not_written_beside_the_copy(store: FeatureStore) -> None:
    key = EntityKey(join_keys=["user_id"], entity_values=[Value(string_val="a")])
    values = {"monthly_fee": Value(float_val=1.0)}
    with pytest.raises(ChurnError, match="single views are not written"):
        store._get_provider().online_store.online_write_batch(
            store.config,
            store.get_feature_view(SUBS_PROFILE.name),
            [(key, values, FEBRUARY.as_of, None)],
            None,
        )


def test_a_torn_down_store_has_no_copy(store: FeatureStore) -> None:
    views = [store.get_feature_view(SUBS_PROFILE.name)]
    online = store._get_provider().online_store
    online.teardown(store.config, views, [])
    assert online.online_read(
        store.config,
        views[0],
        [EntityKey(join_keys=["user_id"], entity_values=[Value(string_val="a")])],
    ) == [(None, None)]
