"""Making databases ready, and knowing that they are; made again whenever something is new."""

from pathlib import Path

import pytest
from psycopg import sql

from churn.api_keys import OWN_KEY, api_keys
from churn.database import connect, init
from churn.database.init import (
    code_signature,
    has_deliveries,
    has_months,
    initialise,
    is_ready,
    prepare_schema,
    signature_of,
)
from churn.deliveries import deliver
from churn.errors import ChurnError
from churn.settings import Settings, get_settings
from tests.kit.small_drop import NOW, write_drop

OWN = ("streamflow",)


def signed(settings: Settings) -> str | None:
    with connect("postgres") as connection:
        return signature_of(connection, settings.postgres_db)


def test_it_is_ready_once_made(settings: Settings) -> None:
    assert signed(settings) is None
    assert not is_ready(OWN)
    for _ in range(2):
        initialise(OWN)
        assert is_ready(OWN)
    assert signed(settings) == code_signature("streamflow")


def test_it_is_not_ready_for_other_code(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    initialise(OWN)
    monkeypatch.setattr("churn.database.init.metadata.version", lambda name: "the next one")
    assert not is_ready(OWN)
    initialise(OWN)
    assert is_ready(OWN)


def test_it_is_not_ready_before_the_platforms_key_is_known(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    initialise(OWN)
    monkeypatch.setenv("CHURN_API_KEY", "of-the-platform-0123456789abcdef")
    get_settings.cache_clear()
    assert not is_ready(OWN)
    initialise(OWN)
    assert is_ready(OWN)
    with connect() as connection:
        assert [each.name for each in api_keys(connection)] == [OWN_KEY]


def test_what_failed_half_way_is_not_ready(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("feature_repo.store.apply_features", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            initialise(OWN)
    assert not is_ready(OWN)
    assert signed(settings) is None


@pytest.mark.parametrize("reader", ["API", "METRICS"])
def test_it_is_not_ready_for_a_reader_that_cannot_log_in(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, reader: str
) -> None:
    initialise(OWN)
    monkeypatch.setenv(f"{reader}_POSTGRES_USER", f"churn_{reader.lower()}_of_init")
    monkeypatch.setenv(f"{reader}_POSTGRES_PASSWORD", "its own")
    get_settings.cache_clear()
    assert not is_ready(OWN)
    initialise(OWN)
    assert is_ready(OWN)
    monkeypatch.setenv(f"{reader}_POSTGRES_PASSWORD", "another")
    get_settings.cache_clear()
    assert not is_ready(OWN)
    initialise(OWN)
    assert is_ready(OWN)


def test_each_service_is_signed_by_its_own_libraries() -> None:
    assert len({code_signature(service) for service in init.SERVICES}) == len(init.SERVICES)


def test_a_database_of_another_schema_is_refused_before_anything_is_done(
    settings: Settings,
) -> None:
    initialise(OWN)
    with connect() as connection:  # as versions without a record of their schema have left theirs
        connection.execute("COMMENT ON SCHEMA raw IS NULL")
        connection.execute("DROP SCHEMA retention CASCADE")
        connection.execute("DROP TABLE action_list, decisions.schema_versions")
    with pytest.raises(ChurnError, match="a version of this code of which nothing is known"):
        prepare_schema()
    with connect() as connection:
        assert connection.execute("SELECT to_regclass('action_list')").fetchone() == (None,)


def test_months_are_known_whoever_made_the_databases(settings: Settings) -> None:
    """A server's own role may not be allowed to sign them."""
    assert not has_months()
    initialise(("streamflow", "dagster"))
    with connect("postgres") as connection:
        unsign = sql.SQL("COMMENT ON DATABASE {} IS NULL")
        connection.execute(unsign.format(sql.Identifier(settings.postgres_db)))
    assert not is_ready(OWN)
    assert has_months()
    with connect() as connection:
        connection.execute("COMMENT ON SCHEMA raw IS 'another'")
    with pytest.raises(ChurnError, match="an earlier version of this code, or of another contract"):
        has_months()


def test_there_are_deliveries_once_a_drop_was_accepted(settings: Settings, tmp_path: Path) -> None:
    assert not has_deliveries()
    deliver(write_drop(tmp_path / "month_000"), now=NOW)
    assert has_deliveries()


def test_tables_that_are_there_are_not_waited_for(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To replace a view waits for all who read it, and who comes next waits behind that."""
    prepare_schema()
    with connect() as reader:
        reader.execute("SELECT count(*) FROM raw.blocked")
        monkeypatch.setenv("PGOPTIONS", "-c lock_timeout=2s")  # to end a wait that is not to be
        prepare_schema()
