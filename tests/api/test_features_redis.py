"""The API's features where readers are given a copy in Redis."""

import pytest
from anyio.from_thread import start_blocking_portal

from api.errors import NotReadyError
from api.features import NOTHING_PUBLISHED, open_store_reader
from churn.contract.in_force import DEFAULT_SERVICE
from churn.online.publish import publish
from churn.settings import Settings
from feature_repo.store import apply_features
from tests.kit.redis_servers import one_redis, read_from_redis
from tests.kit.snapshot_rows import FEBRUARY, JANUARY, put_profile


def test_they_are_those_of_the_copy_and_a_server_that_is_away_is_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    apply_features()
    with (
        one_redis(tmp_path_factory.mktemp("redis")) as servers,
        start_blocking_portal() as portal,
    ):
        read_from_redis(monkeypatch, servers)
        reader = portal.call(open_store_reader)
        try:
            with pytest.raises(NotReadyError) as unready:
                portal.call(reader.check)
            assert unready.value.detail["reason"] == NOTHING_PUBLISHED
            put_profile(JANUARY, ["a", "b"], monthly_fee=29.85)
            put_profile(FEBRUARY, ["a"], monthly_fee=0.1)
            publish(JANUARY)
            publish(FEBRUARY)
            rows = portal.call(reader.read, ["a", "b", "nobody"], DEFAULT_SERVICE)
            assert rows.newest == FEBRUARY.as_of_date == portal.call(reader.check)
            assert [row.values["monthly_fee"] for row in rows.users] == [0.1, 29.85, None]
            assert [rows.is_current(row) for row in rows.users] == [True, False, False]
            servers.kill(servers.ports[0])
            with pytest.raises(NotReadyError) as unready:
                portal.call(reader.read, ["a"], DEFAULT_SERVICE)
            assert "Redis does not answer" in unready.value.detail["reason"]
        finally:
            portal.call(reader.close)
