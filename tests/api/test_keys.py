"""The list of keys that the API holds, read from a real Postgres."""

import datetime as dt

import psycopg
import pytest

from api.errors import NoKeyError, NotReadyError, ScopeError
from api.keys import TRUSTED_SECONDS, KeyRing
from churn.api_keys import Scope, add_key, api_keys, remove_key
from churn.database import connect
from churn.settings import Settings, get_settings


def header(key: str) -> bytes:
    return f"Bearer {key}".encode()


def new_key(name: str, *scopes: Scope) -> str:
    with connect() as connection:
        return add_key(connection, name, scopes or [Scope.FEATURES])


@pytest.fixture
def ring(settings: Settings) -> KeyRing:
    return KeyRing()


def test_before_the_first_look_nobody_is_let_in(ring: KeyRing) -> None:
    with pytest.raises(NotReadyError, match="keys"):
        ring.known(header(new_key("crm")))


@pytest.mark.parametrize("form", ["Bearer {}", "bearer {}", "Bearer  {} "])
def test_a_key_is_known_once_it_is_read(ring: KeyRing, form: str) -> None:
    key = new_key("crm", Scope.FEATURES)
    ring.poll()
    known = ring.known(form.format(key).encode())
    assert known.name == "crm"
    known.refuse_unless(Scope.FEATURES)
    known.refuse_unless(None)
    with pytest.raises(ScopeError, match="not for explain, but for features"):
        known.refuse_unless(Scope.EXPLAIN)
    ring.stop()


def test_an_administrators_key_is_for_everything(ring: KeyRing) -> None:
    key = new_key("ops", Scope.ADMIN)
    ring.poll()
    for scope in Scope:
        ring.known(header(key)).refuse_unless(scope)
    ring.stop()


@pytest.mark.parametrize("form", ["", "{}", "Basic {}", "Bearer ", "Bearer x{}", "Bearer \xff"])
def test_anything_else_is_no_key(ring: KeyRing, form: str) -> None:
    key = new_key("crm")
    ring.poll()
    with pytest.raises(NoKeyError):
        ring.known(form.format(key).encode("latin-1"))
    ring.stop()


def test_a_removed_key_is_let_in_no_longer(ring: KeyRing) -> None:
    key = new_key("crm")
    ring.poll()
    ring.known(header(key))
    with connect() as connection:
        remove_key(connection, "crm")
    ring.poll()
    with pytest.raises(NoKeyError):
        ring.known(header(key))
    ring.stop()


def test_a_key_works_on_its_last_day_and_not_after(ring: KeyRing) -> None:
    key = new_key("crm")
    today = dt.datetime.now(dt.UTC).date()
    for expires_on in (today + dt.timedelta(1), today - dt.timedelta(1)):
        with connect() as connection:
            connection.execute("UPDATE access.api_keys SET expires_on = %s", [expires_on])
        ring.poll()
        if expires_on > today:
            ring.known(header(key))
        else:
            with pytest.raises(NoKeyError):
                ring.known(header(key))
    ring.stop()


def test_the_day_of_a_use_is_written_once(ring: KeyRing) -> None:
    key = new_key("crm")
    new_key("unused")
    ring.poll()
    ring.known(header(key))
    ring.poll()
    with connect() as connection:
        crm, unused = api_keys(connection)
        assert crm.last_used_on == dt.datetime.now(dt.UTC).date()
        assert unused.last_used_on is None
        before = connection.execute("SELECT xmin FROM access.api_keys ORDER BY name").fetchall()
    ring.poll()
    ring.known(header(key))
    ring.poll()
    with connect() as connection:
        after = connection.execute("SELECT xmin FROM access.api_keys ORDER BY name").fetchall()
    assert after == before
    ring.stop()


def test_while_postgres_does_not_answer_the_list_stays(ring: KeyRing) -> None:
    key = new_key("crm")
    ring.poll()
    assert ring._connection is not None
    ring._connection.close()
    ring.poll()  # the connection is gone, and a new one is opened at the next look
    assert ring.known(header(key)).name == "crm"
    ring.poll()
    assert ring.known(header(key)).name == "crm"
    ring.stop()


def test_a_list_that_could_not_be_read_for_long_lets_nobody_in(settings: Settings) -> None:
    now, answering = 1000.0, True

    def open_if_it_answers() -> "psycopg.Connection[tuple[object, ...]]":
        if not answering:
            raise psycopg.OperationalError("connection refused")
        return psycopg.connect(get_settings().dsn(), autocommit=True)

    ring = KeyRing(open_if_it_answers, clock=lambda: now)
    key, another = new_key("crm"), new_key("another")
    ring.poll()
    answering = False
    ring._close()
    with connect() as connection:  # the API alone does not reach Postgres
        remove_key(connection, "crm")
    now += TRUSTED_SECONDS
    ring.poll()
    assert ring.known(header(key)).name == "crm"
    now += 1
    ring.poll()
    with pytest.raises(NotReadyError, match=r"too long ago: Postgres does not answer"):
        ring.known(header(key))
    answering = True
    ring.poll()
    with pytest.raises(NoKeyError):
        ring.known(header(key))
    assert ring.known(header(another)).name == "another"
    ring.stop()


def test_a_list_that_may_not_be_read_lets_nobody_in(ring: KeyRing) -> None:
    key = new_key("crm")
    ring.poll()
    with connect() as connection:
        connection.execute("ALTER TABLE access.api_keys RENAME TO elsewhere")
    ring.poll()
    with pytest.raises(NotReadyError, match="churn init"):
        ring.known(header(key))
    ring.stop()


def test_a_day_that_cannot_be_written_keeps_nobody_out(settings: Settings) -> None:
    def open_reading() -> "psycopg.Connection[tuple[object, ...]]":
        return psycopg.connect(
            get_settings().dsn(), autocommit=True, options="-c default_transaction_read_only=on"
        )

    ring = KeyRing(open_reading)
    key = new_key("crm")
    ring.poll()
    ring.known(header(key))
    ring.poll()
    assert ring.known(header(key)).last_used_on is None
    ring.stop()
