"""The first start: databases and schema, in sequence and under one lock, before any service runs.

A signature of the code that made a database ready is kept as the database's comment, so that the same code
need not do it again. Databases that hold data are changed by `migrate.py`.
"""

import contextlib
import hashlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import metadata, util
from pathlib import Path

import psycopg
from psycopg import sql

from churn.api_keys import is_own_key, keep_own_key
from churn.database import connect, lock
from churn.database.migrate import bring_up, refuse_other_tables
from churn.database.roles import (
    API,
    CONSOLE,
    EXPORTER,
    RETENTION,
    Login,
    ensure_role,
    grant,
    is_role,
    make_role,
)
from churn.database.schema import is_this_schema
from churn.deliveries.ledger import keep_first_month
from churn.errors import ChurnError
from churn.retry import repeat
from churn.settings import contract_in_force, get_settings

_LIBRARIES = {
    "streamflow": ("feast",),
    "dagster": ("dagster", "dagster-postgres"),
    "mlflow": ("mlflow",),
}
# The packages whose files decide what is in our own database.
_OURS = ("churn", "feature_repo")


def code_signature(service: str) -> str:
    """Return a signature of all that decides a service's database: libraries, our files, the contract."""
    digest = hashlib.sha256()
    for library in _LIBRARIES[service]:
        digest.update(f"{library} {metadata.version(library)}\n".encode())
    if service == "streamflow":
        # Feast's registry holds this path.
        digest.update(f"{get_settings().lake}\n".encode())
        digest.update(f"{contract_in_force().fingerprint}\n".encode())
        for file in _files():
            digest.update(file.name.encode() + file.read_bytes())
    return f"made ready by {digest.hexdigest()}"


def signature_of(connection: psycopg.Connection, database: str) -> str | None:
    """Return the signature of the code that made a database ready; None where none did."""
    row = connection.execute(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s",
        [database],
    ).fetchone()
    return row[0] if row else None


def sign(connection: psycopg.Connection, database: str, text: str) -> None:
    """Record in a database's comment which code made it ready.

    Where another role owns the database, nothing is recorded, and it is made ready each time.
    """
    comment = sql.SQL("COMMENT ON DATABASE {} IS {}")
    with contextlib.suppress(psycopg.errors.InsufficientPrivilege), connection.transaction():
        connection.execute(comment.format(sql.Identifier(database), sql.Literal(text)))


def _files() -> list[Path]:
    files: list[Path] = []
    for package in _OURS:
        spec = util.find_spec(package)
        for folder in (spec.submodule_search_locations if spec else None) or ():
            files += sorted(Path(folder).rglob("*.py"))
    return files


SERVICES = ("streamflow", "dagster", "mlflow")
SERVICE_DATABASES = ("dagster", "mlflow")


def initialise(services: Collection[str] = SERVICES) -> None:
    """Create what is missing: databases, our schema, the tables of Dagster, MLflow and Feast, roles.

    When several processes of a service start for the first time together, they corrupt each other's
    migrations. So each service is migrated here, under a lock of its own, before any of its processes runs.
    This is safe to run again, and from two places at once.

    Args:
        services: the services to make ready; the others are left as they are.
    """
    make_ready = {
        "streamflow": _make_own,
        "dagster": _migrate_dagster,
        "mlflow": _migrate_mlflow,
    }
    if unknown := set(services) - make_ready.keys():
        raise ChurnError(
            f"unknown: {', '.join(sorted(unknown))}", remedy=f"choose from {', '.join(SERVICES)}"
        )
    for service in services:
        with _making(service) as (guard, database):
            make_ready[service]()
            if service == "streamflow":
                admit_readers()
                _admit_own_programs()
            elif service == "dagster":
                _admit_exporter_to_dagster()
            sign(guard, database, code_signature(service))


def is_ready(services: Collection[str] = SERVICES) -> bool:
    """Say whether this very code has made the services ready before, and each reader can log in.

    Raises:
        ChurnError: the months of the database are not those of the settings.
    """
    with connect("postgres") as connection:
        are_signed = all(
            signature_of(connection, _database(service)) == code_signature(service)
            for service in services
        )
    if are_signed and "streamflow" in services:
        with connect() as connection:
            keep_first_month(connection, get_settings().first_month)
        return _are_readers_admitted() and _are_own_programs_admitted()
    return are_signed


def prepare_schema() -> None:
    """Create our own database and tables where they are missing: the quick part of `initialise`."""
    with _making("streamflow"), connect() as connection:
        # Replacing a view waits for its readers, and later readers queue behind it, so it is not done for
        # nothing.
        if is_this_schema(connection):
            keep_first_month(connection, get_settings().first_month)
        else:
            create_schema(connection)


def has_months() -> bool:
    """Return whether our tables and Dagster's are there, whoever made them.

    Raises:
        ChurnError: our tables are there, but not as this code and contract have them.
    """
    names = (get_settings().postgres_db, "dagster")
    with connect("postgres") as connection:
        there = connection.execute(
            "SELECT count(*) FROM pg_database WHERE datname = ANY(%s)", [list(names)]
        ).fetchone()
    if there != (2,):
        return False
    with connect("dagster") as connection:
        # One table of each of Dagster's storages, so that this is not true while they are still being made.
        row = connection.execute(
            "SELECT to_regclass('runs'), to_regclass('event_logs'), to_regclass('job_ticks')"
        ).fetchone()
    with connect() as connection:
        refuse_other_tables(connection)
        return is_this_schema(connection) and row is not None and None not in row


def has_deliveries() -> bool:
    """Return whether a drop was ever accepted; before the first one, no month can be behind."""
    with connect() as connection:
        row = connection.execute("SELECT EXISTS (SELECT FROM raw.deliveries)").fetchone()
    return row == (True,)


def _database(service: str) -> str:
    return get_settings().postgres_db if service == "streamflow" else service


@contextmanager
def _making(service: str) -> Iterator[tuple[psycopg.Connection, str]]:
    database = _database(service)
    with connect("postgres") as guard:
        # Held until the service is ready.
        lock(guard, f"churn.initialise.{service}")
        _create_database(database)
        yield guard, database


def create_schema(connection: psycopg.Connection) -> None:
    """Create our own schemas, tables and views where they are missing, and migrate those that are there.

    Raises:
        ChurnError: the tables are of an unknown version, or the contract would lose data.
    """
    bring_up(connection)
    keep_first_month(connection, get_settings().first_month)


def admit_readers() -> None:
    """Make the roles of API, console, readers of `retention` and exporter: of each that has a password.

    Without one the API, the console and the exporter connect as we do, and nobody else reads the views.
    """
    for reader, name, password in _readers():
        with connect() as connection:
            ensure_role(connection, reader, name, password)


def _readers() -> Iterator[tuple[Login, str, str]]:
    """Yield each role that is to be, with its name and password."""
    settings = get_settings()
    roles = (
        (API, settings.api_postgres_user, settings.api_postgres_password),
        (CONSOLE, settings.console_postgres_user, settings.console_postgres_password),
        (RETENTION, settings.reader_postgres_user, settings.reader_postgres_password),
        (EXPORTER, settings.metrics_postgres_user, settings.metrics_postgres_password),
    )
    named: dict[str, Login] = {}
    for reader, name, _ in roles:
        if other := named.get(name):
            raise ChurnError(
                f"{name} is the name of {other.what}'s role",
                where=f"{reader.setting}_USER",
                remedy="choose another name: `churn init` makes the role",
            )
        named[name] = reader
    for reader, name, password in roles:
        if password:
            yield reader, name, password.get_secret_value()


def _admit_exporter_to_dagster() -> None:
    settings = get_settings()
    name = settings.metrics_postgres_user
    if password := settings.metrics_postgres_password.get_secret_value():
        with connect("dagster") as connection:
            if not is_role(connection, name):
                make_role(connection, EXPORTER, name, password)
            grant(connection, EXPORTER.in_dagster, name)


def _are_readers_admitted() -> bool:
    dsn = get_settings().dsn()
    try:
        for _, name, password in _readers():
            repeat(partial(psycopg.connect, dsn, user=name, password=password)).close()
    except psycopg.OperationalError:
        return False
    return True


def _admit_own_programs() -> None:
    """Let the platform's own programs ask the API by CHURN_API_KEY, where there is one."""
    if key := get_settings().api_key.get_secret_value():
        with connect() as connection:
            keep_own_key(connection, key)


def _are_own_programs_admitted() -> bool:
    key = get_settings().api_key.get_secret_value()
    if not key:
        return True
    with connect() as connection:
        return is_own_key(connection, key)


def _create_database(name: str) -> None:
    dsn = get_settings().dsn("postgres")
    with repeat(lambda: psycopg.connect(dsn, autocommit=True)) as connection:
        present = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
        if present.fetchone() is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        if name in SERVICE_DATABASES and any(_readers()):
            # Who may log in may connect, unless told otherwise.
            connection.execute(
                sql.SQL("REVOKE CONNECT, TEMPORARY ON DATABASE {} FROM PUBLIC").format(
                    sql.Identifier(name)
                )
            )


def _make_own() -> None:
    from feature_repo.store import apply_features

    with connect() as connection:
        create_schema(connection)
    apply_features()


def _migrate_dagster() -> None:
    from dagster_postgres import DagsterPostgresStorage

    url = get_settings().sqlalchemy_url("dagster")
    storage = DagsterPostgresStorage(postgres_url=url, should_autocreate_tables=True)
    # Of the three storages, this one keeps a thread and a connection.
    storage.event_log_storage.dispose()


def _migrate_mlflow() -> None:
    from mlflow.db import upgrade

    upgrade.callback(get_settings().sqlalchemy_url("mlflow"))
