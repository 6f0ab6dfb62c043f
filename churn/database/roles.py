"""Logins that may read what they are for and nothing else.

The API reads what is online, readers of `retention` its views; the console has these views and tables of its
own. The exporter of metrics reads what happened when, how many and how good: of the tables that name users it
may read the columns that name none.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from churn.database import lock
from churn.database.online_tables import LOCK, USERS
from churn.errors import ChurnError


@dataclass(frozen=True)
class Login:
    """What one role is and may do.

    Args:
        what: it is, for people.
        setting: the prefix of its two settings, _USER and _PASSWORD.
        without: what comes of it where no password is set.
        limits: settings of its sessions. They hold nobody who means harm, who may change them.
        grants: what holds: a session may change its settings, but not what its role was granted.
        in_dagster: the same in Dagster's database, where it otherwise may not even connect.
    """

    what: str
    setting: str
    without: str
    limits: tuple[sql.SQL, ...]
    grants: tuple[sql.SQL, ...]
    in_dagster: tuple[sql.SQL, ...] = ()


_MAKE = sql.SQL("{make} ROLE {role} LOGIN PASSWORD {verifier}")
_READ_ONLY = sql.SQL("ALTER ROLE {role} SET default_transaction_read_only = on")
_CONNECT = (
    sql.SQL("REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC"),
    sql.SQL("GRANT CONNECT ON DATABASE {database} TO {role}"),
)
API = Login(
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
        # Which keys there are; and of each the day of its last use, the one thing that the API writes.
        sql.SQL("GRANT USAGE ON SCHEMA access TO {role}"),
        sql.SQL(
            "GRANT SELECT (name, key_sha256, scopes, expires_on, last_used_on),"
            " UPDATE (last_used_on) ON access.api_keys TO {role}"
        ),
    ),
)
RETENTION = Login(
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
CONSOLE = Login(
    "the console",
    "CONSOLE_POSTGRES",
    "the console then connects as POSTGRES_USER",
    (sql.SQL("ALTER ROLE {role} SET statement_timeout = '10s'"),),
    (
        *_CONNECT,
        sql.SQL("GRANT USAGE ON SCHEMA console, retention TO {role}"),
        sql.SQL("GRANT SELECT ON console.people TO {role}"),
        # Sessions begin by the two functions. Roles of earlier versions could make any.
        sql.SQL("REVOKE ALL ON console.links FROM {role}"),
        sql.SQL("REVOKE INSERT ON console.sessions FROM {role}"),
        sql.SQL("GRANT SELECT, DELETE ON console.sessions TO {role}"),
        sql.SQL("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA console TO {role}"),
        sql.SQL("GRANT SELECT, INSERT ON console.acts TO {role}"),
        # What it asks for goes through a function, which takes the name from the session.
        sql.SQL("GRANT SELECT ON console.requests, console.drop_outcomes TO {role}"),
        # What was done to whom is reported on its pages, and held against the list.
        sql.SQL("GRANT SELECT ON action_list, action_lists TO {role}"),
        sql.SQL("GRANT SELECT, INSERT, UPDATE ON treatments, treatment_months TO {role}"),
        # A campaign is saved there, for a month of which there is no list yet. That an approver saves it, and
        # under whose name, is the console's word: no function checks it, as one does for releases.
        sql.SQL("GRANT USAGE ON SCHEMA decisions TO {role}"),
        sql.SQL("GRANT SELECT, INSERT ON decisions.campaigns TO {role}"),
        sql.SQL("GRANT SELECT ON churn_score_runs TO {role}"),
        sql.SQL("GRANT INSERT ON treatment_reports TO {role}"),
        # Its pages are read as the readers' role, where there is one.
        sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA retention TO {role}"),
        sql.SQL("ALTER DEFAULT PRIVILEGES IN SCHEMA retention GRANT SELECT ON TABLES TO {role}"),
    ),
)


EXPORTER = Login(
    what="the exporter of metrics",
    setting="METRICS_POSTGRES",
    without="it then connects as POSTGRES_USER",
    limits=(_READ_ONLY, sql.SQL("ALTER ROLE {role} SET statement_timeout = '10s'")),
    grants=(
        *_CONNECT,
        sql.SQL("GRANT USAGE ON SCHEMA online, raw, decisions, monitoring TO {role}"),
        sql.SQL(
            "GRANT SELECT ON online.publications, online.release_in_force, online.months_behind,"
            " decisions.ledger, decisions.releases, monitoring.feature_drift,"
            " monitoring.model_performance, monitoring.looks, churn_score_runs TO {role}"
        ),
        sql.SQL("GRANT SELECT (month, waits, since) ON monitoring.drops_not_taken TO {role}"),
        sql.SQL("GRANT SELECT (month, file, accepted_at, known_at) ON raw.deliveries TO {role}"),
        sql.SQL("GRANT SELECT (as_of, treatment_group) ON action_list TO {role}"),
    ),
    in_dagster=(
        *_CONNECT,
        sql.SQL(
            "GRANT SELECT (pipeline_name, status, start_time, end_time) ON runs TO {role}",
        ),
        sql.SQL("GRANT SELECT (daemon_type, timestamp) ON daemon_heartbeats TO {role}"),
    ),
)


def ensure_role(connection: psycopg.Connection, reader: Login, name: str, password: str) -> None:
    """Make the role, or give it this password, and grant it what it reads; it may be done again.

    The tables must exist, Feast's registry included.

    Raises:
        ChurnError: the name is that of a role with other rights, or we may not make roles.
    """
    make_role(connection, reader, name, password)
    grant(connection, reader.grants, name)


def make_role(connection: psycopg.Connection, reader: Login, name: str, password: str) -> None:
    """Make the role, or give it this password; it may read nothing yet.

    Raises:
        ChurnError: the name is that of a role with other rights, or we may not make roles.
    """
    lock(connection, f"churn.roles.{name}")
    role = connection.execute(
        "SELECT rolname = current_user OR rolsuper OR rolcreaterole OR rolcreatedb"
        " FROM pg_roles WHERE rolname = %s",
        [name],
    ).fetchone()
    if role and role[0]:
        raise ChurnError(
            f"the role {name} may do more than {reader.what} should",
            where=f"{reader.setting}_USER",
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


def is_role(connection: psycopg.Connection, name: str) -> bool:
    """Return whether the server has a role of this name."""
    row = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name]).fetchone()
    return row is not None


def grant(connection: psycopg.Connection, statements: Sequence[sql.SQL], name: str) -> None:
    """Grant a role what it reads in this database; it may be done again.

    The call waits for a publication that is under way, whose new table would otherwise lack the grant.
    """
    lock(connection, LOCK)
    names = {
        "role": sql.Identifier(name),
        "database": sql.Identifier(connection.info.dbname),
        "users": USERS,
    }
    for statement in statements:
        connection.execute(statement.format(**names))
