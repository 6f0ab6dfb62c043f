"""The console's role in Postgres: what it may do, and what it may not; and the roles of its people."""

import itertools
from collections.abc import Callable, Iterator
from typing import Annotated

import psycopg
import pytest
from fastapi import Depends, FastAPI
from psycopg.conninfo import make_conninfo

from churn.database import connect
from churn.settings import Settings
from console.access import allowed
from console.main import create_app
from console.roles import Person, Role
from tests.console.conftest import Someone, database_of
from tests.kit.servers import served


@pytest.fixture
def console(settings: Settings) -> Iterator[str]:
    """A console with one more route for each role."""
    app = create_app(lambda: database_of(settings))
    for role in Role:
        _add(app, role)
    with served(app) as url:
        yield url


def _add(app: FastAPI, role: Role) -> None:
    async def route(who: Annotated[Person, Depends(allowed(role))]) -> str:
        return who.name

    app.add_api_route(f"/for/{role}", route, methods=["GET", "POST"])


def test_a_role_may_do_what_those_before_it_may(sign_in: Callable[..., Someone]) -> None:
    for held, needed in itertools.product(Role, Role):
        someone = sign_in(held)
        status = 200 if held >= needed else 403
        for answer in (someone.get(f"/for/{needed}"), someone.post(f"/for/{needed}")):
            assert answer.status_code == status, (held, needed)
            if status == 403:
                assert f"This needs the role {needed}; yours is {held}." in answer.text


@pytest.fixture
def as_console(settings: Settings) -> Iterator[psycopg.Connection]:
    database_of(settings)
    password = settings.console_postgres_password.get_secret_value()
    login = {"user": settings.console_postgres_user, "password": password}
    with psycopg.connect(make_conninfo(settings.dsn(), **login), autocommit=True) as connection:
        yield connection


FORBIDDEN = (
    "INSERT INTO console.people VALUES ('mallory', 'administrator', 'x')",
    "UPDATE console.people SET role = 'administrator'",
    "INSERT INTO console.links VALUES (repeat('0', 64), 'mallory', 'administrator', now())",
    "UPDATE console.links SET expires_at = now() + interval '1 year'",
    "SELECT * FROM console.links",
    "UPDATE console.links SET used_at = NULL",
    "INSERT INTO console.sessions VALUES (repeat('0', 64), 'mallory', 'administrator', now(), now())",
    "UPDATE console.sessions SET role = 'administrator'",
    "INSERT INTO console.requests (what, version, seen, reason, person)"
    " VALUES ('promote', '1', '', 'x', 'mallory')",
    "UPDATE console.requests SET state = 'done'",
    "SELECT console.ask(repeat('0', 64), 'promote', '1', '', 'x')",
    "UPDATE console.acts SET person = 'somebody else'",
    "DELETE FROM console.acts",
    "TRUNCATE console.acts",
    "DELETE FROM treatments",
    "DELETE FROM treatment_reports",
    "UPDATE treatment_reports SET actor = 'somebody else'",
    "SELECT * FROM raw.users",
    "SELECT * FROM decisions.ledger",
    "INSERT INTO decisions.ledger DEFAULT VALUES",
    "INSERT INTO decisions.releases DEFAULT VALUES",
    "UPDATE decisions.campaigns SET actor = 'somebody else'",
    "DELETE FROM decisions.campaigns",
    "SELECT * FROM users_snapshots",
    "CREATE TABLE console.more (n int)",
    "CREATE TEMP TABLE more (n int)",
    "CREATE ROLE more",
)


def test_its_role_may_do_nothing_else(as_console: psycopg.Connection) -> None:
    for statement in FORBIDDEN:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            as_console.execute(statement)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE console.acts SET person = 'x'",
        "DELETE FROM console.acts",
        "UPDATE treatment_reports SET actor = 'x'",
        "DELETE FROM treatment_reports",
    ],
)
def test_what_was_done_is_not_even_the_owners_to_change(settings: Settings, statement: str) -> None:
    with connect() as connection, pytest.raises(psycopg.errors.RestrictViolation):
        connection.execute(statement)  # type: ignore[call-overload]


def test_pages_are_read_as_a_role_that_sees_the_views_alone(settings: Settings) -> None:
    database = database_of(settings)
    database.open()
    try:
        [(name,)] = database.queries.rows(tuple_of, "SELECT current_user AS value")
        assert name == settings.reader_postgres_user
        [(limit,)] = database.queries.rows(
            tuple_of, "SELECT current_setting('statement_timeout') AS value"
        )
        assert limit == "10s"
        for table in ("console.sessions", "raw.users", "decisions.ledger"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                database.queries.rows(tuple_of, f"SELECT 1 AS value FROM {table}")
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            database.queries.rows(tuple_of, "CREATE TABLE more AS SELECT 1 AS value")
        with database.own() as connection:
            assert connection.execute("SELECT current_user").fetchone() == (
                settings.console_postgres_user,
            )
    finally:
        database.close()


def tuple_of(value: str) -> tuple[str]:
    return (value,)
