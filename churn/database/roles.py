"""The API's role: a login that may read what the API serves, and nothing else."""

import psycopg
from psycopg import sql

from churn.database import lock
from churn.database.online_tables import LOCK, USERS
from churn.errors import ChurnError

_LOGIN = (
    sql.SQL("{make} ROLE {role} LOGIN PASSWORD {verifier}"),
    sql.SQL("ALTER ROLE {role} SET default_transaction_read_only = on"),
    sql.SQL("ALTER ROLE {role} SET statement_timeout = '10s'"),
)
# The grants are what protects: a session may change its settings, but not what its role was granted.
_GRANTS = (
    sql.SQL("REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC"),
    sql.SQL("GRANT CONNECT ON DATABASE {database} TO {role}"),
    sql.SQL("GRANT USAGE ON SCHEMA online, feast TO {role}"),
    sql.SQL(
        "GRANT SELECT ON {users}, online.publications, online.release_in_force, online.months_behind"
        " TO {role}"
    ),
    # Every publication makes a new online.users.
    sql.SQL("ALTER DEFAULT PRIVILEGES IN SCHEMA online GRANT SELECT ON TABLES TO {role}"),
    sql.SQL("GRANT SELECT (feature_service_name) ON feast.feature_services TO {role}"),
)


def ensure_api_role(connection: psycopg.Connection, name: str, password: str) -> None:
    """Make the role, or set its password, and grant it what the API reads; this may be repeated.

    The tables must exist, Feast's registry included. The call waits for a publication that is under way,
    whose new table would otherwise lack the grant.

    Raises:
        ChurnError: the name is that of a role with other rights, or we may not make roles.
    """
    lock(connection, LOCK)
    role = connection.execute(
        "SELECT rolname = current_user OR rolsuper OR rolcreaterole OR rolcreatedb"
        " FROM pg_roles WHERE rolname = %s",
        [name],
    ).fetchone()
    if role and role[0]:
        raise ChurnError(
            f"the role {name} may do more than the API should",
            where="API_POSTGRES_USER",
            remedy="choose another name: `churn init` makes the role",
        )
    # A verifier, since the password itself would appear in the log of a server that logs statements.
    verifier = connection.pgconn.encrypt_password(
        password.encode(), name.encode(), b"scram-sha-256"
    ).decode()
    names = {
        "make": sql.SQL("ALTER" if role else "CREATE"),
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
            where="API_POSTGRES_PASSWORD",
            remedy=f"give {connection.info.user} CREATEROLE, or unset API_POSTGRES_PASSWORD: the API"
            " then connects as POSTGRES_USER",
        ) from error
    for statement in _GRANTS:
        connection.execute(statement.format(**names))
