"""The roles of those who only read: logins that may read what they serve or show, and nothing else.

The API reads what is online. The exporter of metrics reads what happened when, how many and how good: of the
tables that name users it may read the columns that name none.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from churn.database import lock
from churn.database.online_tables import LOCK, USERS
from churn.errors import ChurnError


@dataclass(frozen=True)
class Reader:
    """One such role.

    Attributes:
        who: connects as it, for messages.
        setting: what its environment variables begin with: API of API_POSTGRES_USER.
        grants: what it may read in our own database; these are what holds, since a session may change its
            settings, but not what its role was granted.
        in_dagster: the same in Dagster's database, where it otherwise may not even connect.
    """

    who: str
    setting: str
    grants: Sequence[sql.SQL]
    in_dagster: Sequence[sql.SQL] = ()


_LOGIN = (
    sql.SQL("{make} ROLE {role} LOGIN PASSWORD {verifier}"),
    sql.SQL("ALTER ROLE {role} SET default_transaction_read_only = on"),
    sql.SQL("ALTER ROLE {role} SET statement_timeout = '10s'"),
)
_CONNECT = (
    sql.SQL("REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC"),
    sql.SQL("GRANT CONNECT ON DATABASE {database} TO {role}"),
)
API = Reader(
    who="the API",
    setting="API",
    grants=(
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
EXPORTER = Reader(
    who="the exporter of metrics",
    setting="METRICS",
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


def ensure_role(connection: psycopg.Connection, reader: Reader, name: str, password: str) -> None:
    """Make the role, or give it this password; it may be done again. It may read nothing yet.

    Raises:
        ChurnError: the name is that of a role with other work, or we may not make roles.
    """
    lock(connection, f"churn.roles.{name}")
    found = connection.execute(
        "SELECT rolname = current_user OR rolsuper OR rolcreaterole OR rolcreatedb"
        " FROM pg_roles WHERE rolname = %s",
        [name],
    ).fetchone()
    if found and found[0]:
        raise ChurnError(
            f"the role {name} may do more than {reader.who} should",
            where=f"{reader.setting}_POSTGRES_USER",
            remedy="choose another name: `churn init` makes the role",
        )
    # A verifier: the password itself would stand in the server's log where statements are logged.
    verifier = connection.pgconn.encrypt_password(
        password.encode(), name.encode(), b"scram-sha-256"
    ).decode()
    try:
        for statement in _LOGIN:
            connection.execute(
                statement.format(
                    make=sql.SQL("ALTER" if found else "CREATE"),
                    role=sql.Identifier(name),
                    verifier=sql.Literal(verifier),
                )
            )
    except psycopg.errors.InsufficientPrivilege as error:
        raise ChurnError(
            f"the role {name} cannot be made: {str(error).strip()}",
            where=f"{reader.setting}_POSTGRES_PASSWORD",
            remedy=f"give {connection.info.user} CREATEROLE, or unset {reader.setting}_POSTGRES_PASSWORD:"
            f" {reader.who} then connects as POSTGRES_USER",
        ) from error


def is_role(connection: psycopg.Connection, name: str) -> bool:
    """Say whether the server has a role of this name."""
    row = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name]).fetchone()
    return row is not None


def grant(connection: psycopg.Connection, statements: Sequence[sql.SQL], name: str) -> None:
    """Grant a role what it reads in this database; it may be done again.

    The tables must be there, Feast's registry included. It waits for a publication that is under way,
    whose new table would miss the grant.
    """
    lock(connection, LOCK)
    names = {
        "role": sql.Identifier(name),
        "database": sql.Identifier(connection.info.dbname),
        "users": USERS,
    }
    for statement in statements:
        connection.execute(statement.format(**names))
