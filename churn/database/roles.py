"""The roles of the API and of the console: logins that may do what these two do, and nothing else."""

from collections.abc import Sequence

import psycopg
from psycopg import sql

from churn.database import lock
from churn.database.online_tables import LOCK, USERS
from churn.errors import ChurnError

_LOGIN = (
    sql.SQL("{make} ROLE {role} LOGIN PASSWORD {verifier}"),
    sql.SQL("ALTER ROLE {role} SET statement_timeout = '10s'"),
)
_READ_ONLY = sql.SQL("ALTER ROLE {role} SET default_transaction_read_only = on")
# These are what holds: a session may change its settings, but not what its role was granted.
_GRANTS_OF_API = (
    sql.SQL("REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC"),
    sql.SQL("GRANT CONNECT ON DATABASE {database} TO {role}"),
    sql.SQL("GRANT USAGE ON SCHEMA online, feast TO {role}"),
    sql.SQL(
        "GRANT SELECT ON {users}, online.publications, online.release_in_force, online.months_behind"
        " TO {role}"
    ),
    # Every publication makes online.users anew.
    sql.SQL("ALTER DEFAULT PRIVILEGES IN SCHEMA online GRANT SELECT ON TABLES TO {role}"),
    sql.SQL("GRANT SELECT (feature_service_name) ON feast.feature_services TO {role}"),
)
# People and links are made by the command line, as the owner: the console can let in nobody new.
_GRANTS_OF_CONSOLE = (
    sql.SQL("REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC"),
    sql.SQL("GRANT CONNECT ON DATABASE {database} TO {role}"),
    sql.SQL("GRANT USAGE ON SCHEMA console TO {role}"),
    sql.SQL("GRANT SELECT ON console.people, console.links TO {role}"),
    sql.SQL("GRANT UPDATE (used_at) ON console.links TO {role}"),
    sql.SQL("GRANT SELECT, INSERT, DELETE ON console.sessions TO {role}"),
    sql.SQL("GRANT SELECT, INSERT ON console.acts TO {role}"),
)


def ensure_api_role(connection: psycopg.Connection, name: str, password: str) -> None:
    """Make the role, or give it this password, and grant it what the API reads; it may be done again.

    The tables must be there, Feast's registry included. It waits for a publication that is under way,
    whose new table would miss the grant.

    Raises:
        ChurnError: the name is that of a role with other work, or we may not make roles.
    """
    lock(connection, LOCK)
    _ensure(connection, "API", name, password, (_READ_ONLY, *_GRANTS_OF_API))


def ensure_console_role(connection: psycopg.Connection, name: str, password: str) -> None:
    """Make the console's role, or give it this password, and grant it its own tables.

    Raises:
        ChurnError: the name is that of a role with other work, or we may not make roles.
    """
    lock(connection, "churn.console role")
    _ensure(connection, "CONSOLE", name, password, _GRANTS_OF_CONSOLE)


def _ensure(
    connection: psycopg.Connection,
    prefix: str,
    name: str,
    password: str,
    grants: Sequence[sql.SQL],
) -> None:
    found = connection.execute(
        "SELECT rolname = current_user OR rolsuper OR rolcreaterole OR rolcreatedb"
        " FROM pg_roles WHERE rolname = %s",
        [name],
    ).fetchone()
    part = {"API": "API", "CONSOLE": "console"}[prefix]
    if found and found[0]:
        raise ChurnError(
            f"the role {name} may do more than the {part} should",
            where=f"{prefix}_POSTGRES_USER",
            remedy="choose another name: `churn init` makes the role",
        )
    # A verifier: the password itself would stand in the server's log where statements are logged.
    verifier = connection.pgconn.encrypt_password(
        password.encode(), name.encode(), b"scram-sha-256"
    ).decode()
    names = {
        "make": sql.SQL("ALTER" if found else "CREATE"),
        "role": sql.Identifier(name),
        "verifier": sql.Literal(verifier),
        "database": sql.Identifier(connection.info.dbname),
        "users": USERS,
    }
    try:
        for statement in _LOGIN:
            connection.execute(statement.format(**names))
    except psycopg.errors.InsufficientPrivilege as error:
        raise ChurnError(
            f"the role {name} cannot be made: {str(error).strip()}",
            where=f"{prefix}_POSTGRES_PASSWORD",
            remedy=f"give {connection.info.user} CREATEROLE, or unset {prefix}_POSTGRES_PASSWORD: the"
            f" {part} then connects as POSTGRES_USER",
        ) from error
    for statement in grants:
        connection.execute(statement.format(**names))
