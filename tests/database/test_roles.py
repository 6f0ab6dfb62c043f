"""The role that the API connects as: what it may do, and all that it may not."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from churn.database import connect
from churn.database.init import admit_readers, initialise
from churn.errors import ChurnError
from churn.online.publish import publish
from churn.settings import Settings, get_settings
from churn.stack.parts import make_plan
from churn.stack.postgres import EmbeddedPostgres
from churn.stack.record import StackRecord
from tests.kit.snapshot_rows import FEBRUARY, JANUARY, put_profile

SECRET = "f'g\"h\\i@j%k é"
_OURS = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
_RIGHTS = f"""
WITH tables AS (SELECT c.oid, c.relkind, n.nspname || '.' || c.relname AS name
  FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE {_OURS})
SELECT name, p FROM tables, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES',
    'TRIGGER', 'MAINTAIN']) AS p
  WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND has_table_privilege(%(role)s, oid, p)
UNION SELECT name || '.' || attname, p FROM tables JOIN pg_attribute ON attrelid = oid,
    unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) AS p
  WHERE attnum > 0 AND NOT attisdropped AND has_column_privilege(%(role)s, oid, attnum, p)
  AND NOT has_table_privilege(%(role)s, oid, p)
UNION SELECT name, p FROM tables, unnest(ARRAY['USAGE', 'SELECT', 'UPDATE']) AS p
  WHERE relkind = 'S' AND has_sequence_privilege(%(role)s, oid, p)
UNION SELECT n.nspname, p FROM pg_namespace AS n, unnest(ARRAY['USAGE', 'CREATE']) AS p
  WHERE {_OURS} AND has_schema_privilege(%(role)s, n.oid, p)
UNION SELECT datname, p FROM pg_database, unnest(ARRAY['CONNECT', 'CREATE', 'TEMPORARY']) AS p
  WHERE datname IN (current_database(), 'dagster', 'mlflow') AND has_database_privilege(%(role)s, oid, p)
"""
GRANTED = {
    ("streamflow", "CONNECT"),
    ("public", "USAGE"),  # everybody's; nothing in it is granted
    ("online", "USAGE"),
    ("online.users", "SELECT"),
    ("online.publications", "SELECT"),
    ("online.release_in_force", "SELECT"),
    ("online.months_behind", "SELECT"),
    ("feast", "USAGE"),
    ("feast.feature_services.feature_service_name", "SELECT"),
    ("access", "USAGE"),
    *(
        (f"access.api_keys.{column}", "SELECT")
        for column in ("name", "key_sha256", "scopes", "expires_on", "last_used_on")
    ),
    ("access.api_keys.last_used_on", "UPDATE"),
}


# Of the tables that name users, the exporter of metrics may read the columns that name none.
GRANTED_TO_EXPORTER = {
    ("streamflow", "CONNECT"),
    ("dagster", "CONNECT"),
    ("public", "USAGE"),
    *((schema, "USAGE") for schema in ("online", "raw", "decisions", "monitoring")),
    *(
        (relation, "SELECT")
        for relation in (
            "online.publications",
            "online.release_in_force",
            "online.months_behind",
            "decisions.ledger",
            "decisions.releases",
            "monitoring.feature_drift",
            "monitoring.model_performance",
            "monitoring.looks",
            "monitoring.drops_not_taken.month",
            "monitoring.drops_not_taken.waits",
            "monitoring.drops_not_taken.since",
            "raw.deliveries.month",
            "raw.deliveries.file",
            "raw.deliveries.accepted_at",
            "raw.deliveries.known_at",
            "public.churn_score_runs",
            "public.action_list.as_of",
            "public.action_list.treatment_group",
        )
    ),
}
GRANTED_IN_DAGSTER = {
    ("dagster", "CONNECT"),
    ("public", "USAGE"),
    ("public.runs.pipeline_name", "SELECT"),
    ("public.runs.status", "SELECT"),
    ("public.runs.start_time", "SELECT"),
    ("public.runs.end_time", "SELECT"),
    ("public.daemon_heartbeats.daemon_type", "SELECT"),
    ("public.daemon_heartbeats.timestamp", "SELECT"),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server that logs every statement, made ready as `churn up` does."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("role"), durable=False) as server:
        with pytest.MonkeyPatch.context() as patch:
            tell(patch, server, server.folder.parent)
            with psycopg.connect(get_settings().dsn("postgres"), autocommit=True) as connection:
                connection.execute("ALTER SYSTEM SET log_statement = 'all'")
                connection.execute("SELECT pg_reload_conf()")
            initialise()
        yield server
    get_settings.cache_clear()


def tell(patch: pytest.MonkeyPatch, server: EmbeddedPostgres, home: Path, **more: str) -> Settings:
    told = {"POSTGRES_DB": "streamflow", "CHURN_HOME": str(home), "API_POSTGRES_USER": "churn_api"}
    for name, value in {**server.environment, **told, **more}.items():
        patch.setenv(name, value)
    get_settings.cache_clear()
    return get_settings()


@pytest.fixture(autouse=True)
def owner(
    server: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Settings]:
    """The settings of everybody but the API."""
    yield tell(monkeypatch, server, tmp_path)
    get_settings.cache_clear()


def as_api(database: str | None = None, **more: str) -> psycopg.Connection:
    login = make_plan(StackRecord()).parts["api"].environment
    told = {"user": login["POSTGRES_USER"], "password": login["POSTGRES_PASSWORD"], **more}
    return psycopg.connect(get_settings().dsn(database), autocommit=True, **told)


def rights(role: str = "churn_api", database: str | None = None) -> set[tuple[str, str]]:
    with connect(database) as connection:
        return set(connection.execute(_RIGHTS, {"role": role}).fetchall())


def test_its_rights_are_these_and_outlive_publications() -> None:
    assert rights() == GRANTED
    for month in (JANUARY, FEBRUARY):
        put_profile(month, ["a"])
        publish(month)
        assert rights() == GRANTED
        with as_api() as connection:
            assert connection.execute("SELECT as_of FROM online.users").fetchall() == [
                (month.as_of,)
            ]
    admit_readers()
    assert rights() == GRANTED


def test_the_exporter_reads_these_and_nothing_that_names_a_user() -> None:
    assert rights("churn_metrics") == GRANTED_TO_EXPORTER
    in_dagster = rights("churn_metrics", "dagster")
    assert in_dagster == GRANTED_IN_DAGSTER
    initialise()
    assert rights("churn_metrics") == GRANTED_TO_EXPORTER
    assert rights("churn_metrics", "dagster") == in_dagster


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO online.publications SELECT * FROM online.publications",
        "UPDATE online.users SET monthly_fee = 0",
        "DELETE FROM online.users",
        "TRUNCATE online.users",
        "DROP TABLE online.users",
        "ALTER TABLE online.users ADD COLUMN more text",
        "CREATE TABLE online.more (n int)",
        "CREATE TABLE public.more (n int)",
        "CREATE TEMP TABLE more (n int)",
        "CREATE SCHEMA more",
        "CREATE ROLE more",
        "SELECT * FROM raw.users",
        "SELECT * FROM users_snapshots",
        "SELECT * FROM users_snapshots_current",
        "SELECT * FROM decisions.ledger",
        "SELECT feature_service_proto FROM feast.feature_services",
        "SELECT pg_read_file('PG_VERSION')",
        "SELECT rolpassword FROM pg_authid",
    ],
)
def test_it_may_do_nothing_else_whatever_its_session_sets(statement: str) -> None:
    with as_api() as connection:
        connection.execute("SET default_transaction_read_only = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement)


def test_its_sessions_are_read_only_and_end_their_statements() -> None:
    with as_api() as connection:
        assert connection.execute("SHOW default_transaction_read_only").fetchone() == ("on",)
        assert connection.execute("SHOW statement_timeout").fetchone() == ("10s",)


@pytest.mark.parametrize("database", ["dagster", "mlflow"])
def test_it_cannot_connect_to_other_databases(database: str) -> None:
    with connect(database) as connection:  # its owner still can
        assert connection.info.dbname == database
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        as_api(database)


def test_another_password_takes_the_place_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    before = get_settings().api_postgres_password.get_secret_value()
    monkeypatch.setenv("API_POSTGRES_PASSWORD", SECRET)
    get_settings.cache_clear()
    admit_readers()
    as_api().close()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        as_api(password=before)
    monkeypatch.setenv("API_POSTGRES_PASSWORD", before)
    get_settings.cache_clear()
    admit_readers()
    as_api().close()


def test_no_password_is_in_the_servers_log(server: EmbeddedPostgres) -> None:
    log = server.log.read_text(errors="replace")
    assert 'CREATE ROLE "churn_api" LOGIN PASSWORD' in log
    for password in (server.environment["API_POSTGRES_PASSWORD"], server.password):
        assert password not in log


def test_without_a_password_no_role_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_POSTGRES_USER", "nobody")
    monkeypatch.setenv("API_POSTGRES_PASSWORD", "")
    get_settings.cache_clear()
    admit_readers()
    assert (
        make_plan(StackRecord()).parts["api"].environment == {}
    )  # so the API connects as everybody does
    with connect() as connection:
        role = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = 'nobody'").fetchone()
    assert role is None


def test_the_owner_is_not_taken_for_the_apis_role(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_POSTGRES_USER", "streamflow")
    get_settings.cache_clear()
    with pytest.raises(ChurnError, match="the role streamflow may do more"):
        admit_readers()


def test_an_owner_that_is_no_superuser(
    server: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect() as connection:
        keeper = sql.SQL("CREATE ROLE keeper LOGIN CREATEDB PASSWORD {}")
        connection.execute(keeper.format(sql.Literal(SECRET)))
    own = {"POSTGRES_USER": "keeper", "POSTGRES_PASSWORD": SECRET, "POSTGRES_DB": "kept"}
    own |= {"API_POSTGRES_USER": "reader", "API_POSTGRES_PASSWORD": SECRET}
    own |= {"CONSOLE_POSTGRES_USER": "writer", "CONSOLE_POSTGRES_PASSWORD": SECRET}
    own |= {"READER_POSTGRES_USER": "retention_reader", "READER_POSTGRES_PASSWORD": SECRET}
    own |= {"METRICS_POSTGRES_USER": "watcher"}
    tell(monkeypatch, server, tmp_path, **own)
    with pytest.raises(ChurnError, match="the role reader cannot be made") as refused:
        initialise(["streamflow"])
    assert "give keeper CREATEROLE" in str(refused.value)
    assert SECRET not in str(refused.value)
    with connect() as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("ALTER ROLE streamflow NOLOGIN")
    tell(monkeypatch, server, tmp_path)
    with connect() as connection:
        connection.execute("ALTER ROLE keeper CREATEROLE")
    tell(monkeypatch, server, tmp_path, **own)
    for _ in range(2):
        initialise(["streamflow"])
    put_profile(JANUARY, ["a"])
    publish(JANUARY)
    with as_api() as connection:
        assert connection.execute("SELECT user_id FROM online.users").fetchall() == [("a",)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT * FROM raw.users")
