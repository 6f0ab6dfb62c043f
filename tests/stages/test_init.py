"""Making databases ready, and knowing that they are; made again whenever something is new."""

import pytest

from churn.database import connect, init
from churn.database.init import initialise, is_ready, prepare_schema
from churn.database.made_by import made_by, maker
from churn.errors import ChurnError
from churn.settings import Settings, get_settings

OWN = ("streamflow",)


def signed(settings: Settings) -> str | None:
    with connect("postgres") as connection:
        return made_by(connection, settings.postgres_db)


def test_it_is_ready_once_made(settings: Settings) -> None:
    assert signed(settings) is None
    assert not is_ready(OWN)
    for _ in range(2):
        initialise(OWN)
        assert is_ready(OWN)
    assert signed(settings) == maker("streamflow")


def test_it_is_not_ready_for_other_code(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    initialise(OWN)
    monkeypatch.setattr("churn.database.made_by.metadata.version", lambda name: "the next one")
    assert not is_ready(OWN)
    initialise(OWN)
    assert is_ready(OWN)


def test_what_failed_half_way_is_not_ready(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("feature_repo.store.apply_features", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            initialise(OWN)
    assert not is_ready(OWN)
    assert signed(settings) is None


def test_it_is_not_ready_for_an_api_that_cannot_log_in(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    initialise(OWN)
    monkeypatch.setenv("API_POSTGRES_USER", "churn_api_of_init")
    monkeypatch.setenv("API_POSTGRES_PASSWORD", "its own")
    get_settings.cache_clear()
    assert not is_ready(OWN)
    initialise(OWN)
    assert is_ready(OWN)
    monkeypatch.setenv("API_POSTGRES_PASSWORD", "another")
    get_settings.cache_clear()
    assert not is_ready(OWN)
    initialise(OWN)
    assert is_ready(OWN)


def test_each_service_is_signed_by_its_own_libraries() -> None:
    assert len({maker(service) for service in init.SERVICES}) == len(init.SERVICES)


def test_a_database_of_another_schema_is_refused_before_anything_is_done(
    settings: Settings,
) -> None:
    initialise(OWN)
    with connect() as connection:  # as versions without a record of their schema have left theirs
        connection.execute("COMMENT ON SCHEMA raw IS NULL")
        connection.execute("DROP TABLE action_list")
    with pytest.raises(ChurnError, match="made by another version of this code"):
        prepare_schema()
    with connect() as connection:
        assert connection.execute("SELECT to_regclass('action_list')").fetchone() == (None,)
