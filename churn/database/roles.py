"""Logins that may do what they are for and nothing else: of the API, the console, readers of `retention`."""

from dataclasses import dataclass

import psycopg
from psycopg import sql

from churn.database import lock
from churn.database.online_tables import LOCK, USERS
from churn.errors import ChurnError


@dataclass(frozen=True)
class Reader:
    """What one role is and may do.

    Args:
        what: it is, for people.
        setting: the prefix of its two settings, _USER and _PASSWORD.
        without: what comes of it where no password is set.
        limits: settings of its sessions. They hold nobody who means harm, who may change them.
        grants: what holds: a session may change its settings, but not what its role was granted.
    """

    what: str
    setting: str
    without: str
    limits: tuple[sql.SQL, ...]
    grants: tuple[sql.SQL, ...]


_MAKE = sql.SQL("{make} ROLE {role} LOGIN PASSWORD {verifier}")
_READ_ONLY = sql.SQL("ALTER ROLE {role} SET default_transaction_read_only = on")
_CONNECT = (
    sql.SQL("REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC"),
    sql.SQL("GRANT CONNECT ON DATABASE {database} TO {role}"),
)
API = Reader(
    "the API",
    "API_POSTGRES",
    "the API then connects as POSTGRES_USER",
    (_READ_ONLY, sql.SQL("ALTER ROLE {role} SET statement_timeout = '10s'")),
    (
        *_CONNECT,
        sql.SQL("GRANT USAGE ON SCHEMA online, feast TO {role}"),
        sql.SQL(
            "GRANT SELECT ON {users}, online.publications, online.release_in_force,"
            " online.months_behind TO {role}"
        ),
        # Every publication makes online.users anew.
        sql.SQL("ALTER DEFAULT PRIVILEGES IN SCHEMA online GRANT SELECT ON TABLES TO {role}"),
        sql.SQL("GRANT SELECT (feature_service_name) ON feast.feature_services TO {role}"),
    ),
)
RETENTION = Reader(
    "a reader of retention",
    "READER_POSTGRES",
    "nobody but POSTGRES_USER then reads the views of retention",
    (
        _READ_ONLY,
        # What replaces a view waits for its readers, five minutes at most (PATIENCE_SECONDS).
        sql.SQL("ALTER ROLE {role} SET statement_timeout = '4min'"),
        sql.SQL("ALTER ROLE {role} SET idle_in_transaction_session_timeout = '1min'"),
    ),
    (
        *_CONNECT,
        sql.SQL("GRANT USAGE ON SCHEMA retention TO {role}"),
        sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA retention TO {role}"),
        # A later version has other views, or makes one anew.
        sql.SQL("ALTER DEFAULT PRIVILEGES IN SCHEMA retention GRANT SELECT ON TABLES TO {role}"),
    ),
)
# People and links are made by the command line, as the owner: the console can let in nobody new.
CONSOLE = Reader(
    "the console",
    "CONSOLE_POSTGRES",
    "the console then connects as POSTGRES_USER",
    (sql.SQL("ALTER ROLE {role} SET statement_timeout = '10s'"),),
    (
        *_CONNECT,
        sql.SQL("GRANT USAGE ON SCHEMA console, retention TO {role}"),
        sql.SQL("GRANT SELECT ON console.people, console.links TO {role}"),
        sql.SQL("GRANT UPDATE (used_at) ON console.links TO {role}"),
        sql.SQL("GRANT SELECT, INSERT, DELETE ON console.sessions TO {role}"),
        sql.SQL("GRANT SELECT, INSERT ON console.acts TO {role}"),
        # What was done to whom is reported on its pages, and held against the list.
        sql.SQL("GRANT SELECT ON action_list, action_lists TO {role}"),
        sql.SQL("GRANT SELECT, INSERT, UPDATE ON treatments, treatment_months TO {role}"),
        # Its pages are read as the readers' role, where there is one.
        sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA retention TO {role}"),
        sql.SQL("ALTER DEFAULT PRIVILEGES IN SCHEMA retention GRANT SELECT ON TABLES TO {role}"),
    ),
)


def ensure_role(connection: psycopg.Connection, reader: Reader, name: str, password: str) -> None:
    """Make the role, or give it this password, and grant it what it reads; it may be done again.

    The tables must be there, Feast's registry included. It waits for a publication that is under way,
    whose new table would miss the grant.

    Raises:
        ChurnError: the name is that of a role with other work, or we may not make roles.
    """
    lock(connection, LOCK)
    found = connection.execute(
        "SELECT rolname = current_user OR rolsuper OR rolcreaterole OR rolcreatedb"
        " FROM pg_roles WHERE rolname = %s",
        [name],
    ).fetchone()
    if found and found[0]:
        raise ChurnError(
            f"the role {name} may do more than {reader.what} should",
            where=f"{reader.setting}_USER",
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
        for statement in (_MAKE, *reader.limits):
            connection.execute(statement.format(**names))
    except psycopg.errors.InsufficientPrivilege as error:
        raise ChurnError(
            f"the role {name} cannot be made: {str(error).strip()}",
            where=f"{reader.setting}_PASSWORD",
            remedy=f"give {connection.info.user} CREATEROLE, or unset {reader.setting}_PASSWORD:"
            f" {reader.without}",
        ) from error
    for statement in reader.grants:
        connection.execute(statement.format(**names))
