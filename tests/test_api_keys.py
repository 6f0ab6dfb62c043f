"""Keys of the API as Postgres keeps them: shown once, then only a hash."""

import datetime as dt

import psycopg
import pytest

from churn.api_keys import (
    OWN_KEY,
    OWN_SCOPES,
    Scope,
    add_key,
    api_keys,
    hashed,
    is_own_key,
    keep_own_key,
    remove_key,
)
from churn.database import connect
from churn.errors import ChurnError
from churn.settings import Settings, get_settings

BY_HAND = "a-key-of-the-platform-0123456789"


def test_a_key_is_kept_as_a_hash_alone(settings: Settings) -> None:
    with connect() as connection:
        key = add_key(connection, "crm", [Scope.FEATURES, Scope.PREDICT], dt.date(2999, 6, 30))
        [row] = connection.execute("SELECT * FROM access.api_keys").fetchall()
        [known] = api_keys(connection)
    assert key.startswith("churn_")
    assert len(key) == len("churn_") + 43  # 256 bits in base64
    assert key not in str(row)
    assert hashed(key) in row
    assert (known.name, known.scopes) == ("crm", (Scope.FEATURES, Scope.PREDICT))
    assert known.expires_on == dt.date(2999, 6, 30)
    assert known.last_used_on is None
    assert key.startswith(known.beginning)
    assert len(known.beginning) == 12


def test_a_name_is_one_key_and_a_removed_key_is_gone(settings: Settings) -> None:
    with connect() as connection:
        first = add_key(connection, "crm", [Scope.ADMIN])
        with pytest.raises(ChurnError, match="there is a key called crm already"):
            add_key(connection, "crm", [Scope.FEATURES])
        remove_key(connection, "crm")
        with pytest.raises(ChurnError, match="there is no key called crm"):
            remove_key(connection, "crm")
        assert api_keys(connection) == []
        assert add_key(connection, "crm", [Scope.ADMIN]) != first


@pytest.mark.parametrize("name", ["", " ", " crm", "c\nrm", "c" * 101])
def test_what_is_no_name_is_refused(settings: Settings, name: str) -> None:
    with connect() as connection, pytest.raises(ChurnError, match="is no name"):
        add_key(connection, name, [Scope.ADMIN])


def test_the_name_of_the_platforms_own_key_is_nobody_elses(settings: Settings) -> None:
    with connect() as connection:
        with pytest.raises(ChurnError, match="platform is the name of the key in CHURN_API_KEY"):
            add_key(connection, OWN_KEY, [Scope.ADMIN])
        assert api_keys(connection) == []


def test_a_day_that_is_over_and_no_scopes_are_refused(settings: Settings) -> None:
    with connect() as connection:
        with pytest.raises(ChurnError, match="2024-01-31 is over"):
            add_key(connection, "crm", [Scope.ADMIN], dt.date(2024, 1, 31))
        with pytest.raises(psycopg.errors.CheckViolation):
            add_key(connection, "crm", [])


def test_the_platforms_own_key_replaces_the_one_before(settings: Settings) -> None:
    other = BY_HAND[::-1]
    with connect() as connection:
        assert not is_own_key(connection, BY_HAND)
        keep_own_key(connection, BY_HAND)
        keep_own_key(connection, BY_HAND)
        assert is_own_key(connection, BY_HAND)
        keep_own_key(connection, other)
        assert is_own_key(connection, other)
        assert not is_own_key(connection, BY_HAND)
        [known] = api_keys(connection)
    assert (known.name, known.scopes) == (OWN_KEY, OWN_SCOPES)
    assert known.beginning not in other


def test_the_platform_takes_nobody_elses_key(settings: Settings) -> None:
    with connect() as connection:
        key = add_key(connection, "crm", [Scope.FEATURES])
        with pytest.raises(ChurnError, match="it is the key of crm"):
            keep_own_key(connection, key)


@pytest.mark.parametrize("key", ["too-short", "x" * 31, "ü" * 32, "x" * 20 + " " + "x" * 20])
def test_a_key_that_could_be_guessed_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("CHURN_API_KEY", key)
    get_settings.cache_clear()
    with pytest.raises(ChurnError, match="CHURN_API_KEY: a key has") as refused:
        get_settings()
    assert key not in str(refused.value)
    get_settings.cache_clear()


def test_who_has_a_key_sends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().api_headers == {}
    monkeypatch.setenv("CHURN_API_KEY", BY_HAND)
    assert Settings().api_headers == {"Authorization": f"Bearer {BY_HAND}"}
    assert BY_HAND not in repr(Settings())
