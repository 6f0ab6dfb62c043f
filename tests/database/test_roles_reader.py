"""The role that builds on the views of retention: what it may read, and all that it may not."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from churn.database import connect
from churn.database.init import admit_readers, initialise, is_ready
from churn.database.migrate import bring_up
from churn.database.retention import RETENTION_VIEWS
from churn.database.steps import STEPS, Step
from churn.errors import ChurnError
from churn.settings import get_settings
from churn.stack.postgres import EmbeddedPostgres
from tests.database.test_roles import rights, tell

SECRET = "f'g\"h\\i@j%k é"
GRANTED = {
    ("streamflow", "CONNECT"),
    ("public", "USAGE"),  # everybody's; nothing in it is granted
    ("retention", "USAGE"),
    *((f"retention.{view.name}", "SELECT") for view in RETENTION_VIEWS),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server made ready as `churn up` does."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("reader"), durable=False) as server:
        with pytest.MonkeyPatch.context() as patch:
            tell(patch, server, server.folder.parent)
            initialise()
        yield server
    get_settings.cache_clear()


@pytest.fixture(autouse=True)
def owner(
    server: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    tell(monkeypatch, server, tmp_path)
    yield
    get_settings.cache_clear()


def as_reader(database: str | None = None, **more: str) -> psycopg.Connection:
    settings = get_settings()
    password = settings.reader_postgres_password.get_secret_value()
    login = {"user": settings.reader_postgres_user, "password": password, **more}
    return psycopg.connect(settings.dsn(database), autocommit=True, **login)


def test_its_rights_are_these() -> None:
    assert rights("churn_reader") == GRANTED
    admit_readers()
    assert rights("churn_reader") == GRANTED


def test_it_reads_every_view() -> None:
    with as_reader() as connection:
        for view in RETENTION_VIEWS:
            assert connection.execute(f"SELECT * FROM retention.{view.name}").fetchall() == []


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM raw.users",
        "SELECT * FROM raw.deliveries",
        "SELECT * FROM decisions.ledger",
        "SELECT * FROM decisions.releases",
        "SELECT * FROM monitoring.alarms",
        "SELECT * FROM online.users",
        "SELECT * FROM churn_scores",
        "SELECT * FROM labels_snapshots",
        "SELECT rolpassword FROM pg_authid",
        "SELECT pg_read_file('PG_VERSION')",
        "INSERT INTO decisions.ledger (seq) VALUES (1)",
        "INSERT INTO retention.performance (metric) VALUES ('auc')",
        "UPDATE retention.performance SET metric = 'auc'",
        "DELETE FROM retention.campaigns",
        "DROP VIEW retention.month",
        "CREATE VIEW retention.more AS SELECT 1",
        "CREATE TABLE public.more (n int)",
        "CREATE TEMP TABLE more (n int)",
        "CREATE FUNCTION public.more() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE SCHEMA more",
        "CREATE ROLE more",
    ],
)
def test_it_may_do_nothing_else_whatever_its_session_sets(statement: str) -> None:
    with as_reader() as connection:
        connection.execute("SET default_transaction_read_only = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement)


def test_its_sessions_are_read_only_and_end() -> None:
    """A statement ends before a migration that waits for it gives up, after five minutes."""
    with as_reader() as connection:
        for setting, value in (
            ("default_transaction_read_only", "on"),
            ("statement_timeout", "4min"),
            ("idle_in_transaction_session_timeout", "1min"),
        ):
            assert connection.execute(f"SHOW {setting}").fetchone() == (value,)


@pytest.mark.parametrize("database", ["dagster", "mlflow"])
def test_it_cannot_connect_to_other_databases(database: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        as_reader(database)


def test_a_view_that_an_upgrade_makes_is_readable_at_once() -> None:
    """Also before anybody runs `churn init` again: other commands bring tables up without roles."""
    with connect() as connection:
        connection.execute("COMMENT ON SCHEMA raw IS 'schema of before'")
        connection.commit()
        anew = "DROP VIEW retention.month"
        more = "CREATE VIEW retention.another AS SELECT 1 AS n"
        bring_up(connection, steps=(*STEPS, Step(91, "views", (anew, more))))
    with as_reader() as reader:
        assert reader.execute("SELECT * FROM retention.month").fetchall() == []
        assert reader.execute("SELECT n FROM retention.another").fetchone() == (1,)
    with connect() as connection:
        connection.execute("DROP VIEW retention.another")
        connection.execute("DELETE FROM decisions.schema_versions WHERE version = 91")
    assert rights("churn_reader") == GRANTED


def test_another_password_takes_the_place_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    before = get_settings().reader_postgres_password.get_secret_value()
    monkeypatch.setenv("READER_POSTGRES_PASSWORD", SECRET)
    get_settings.cache_clear()
    assert not is_ready(("streamflow",))
    admit_readers()
    as_reader().close()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        as_reader(password=before)
    monkeypatch.setenv("READER_POSTGRES_PASSWORD", before)
    get_settings.cache_clear()
    admit_readers()
    as_reader().close()


def test_without_a_password_no_role_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("READER_POSTGRES_USER", "nobody")
    monkeypatch.setenv("READER_POSTGRES_PASSWORD", "")
    get_settings.cache_clear()
    admit_readers()
    with connect() as connection:
        role = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = 'nobody'").fetchone()
    assert role is None


@pytest.mark.parametrize(
    ("name", "why"), [("streamflow", "may do more"), ("churn_api", "the name of the API's role")]
)
def test_a_role_with_other_work_is_not_taken_for_it(
    monkeypatch: pytest.MonkeyPatch, name: str, why: str
) -> None:
    monkeypatch.setenv("READER_POSTGRES_USER", name)
    get_settings.cache_clear()
    with pytest.raises(ChurnError, match=why) as refused:
        admit_readers()
    assert "READER_POSTGRES_USER" in str(refused.value)
