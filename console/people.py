"""People, the links that sign them in, and their sessions, as Postgres keeps them.

Of a password an argon2 hash is kept; of the token of a link or a session its sha256, so that who reads the
tables can sign in as nobody. The command line makes people and links, as the database's owner. The console's
own role begins a session only by functions of the database, which take person and role from a link or from
the list of people (`churn.database.tables`).
"""

import datetime as dt
import functools
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from churn.database import lock
from churn.errors import ChurnError
from console.access import hashed
from console.acts import MAX_NAME, Act, record
from console.errors import TooManyAttemptsError
from console.roles import Role

# The functions that begin a session say the same.
SESSION_TIME = dt.timedelta(hours=12)
LINK_TIME = dt.timedelta(hours=24)
ATTEMPTS_TIME = dt.timedelta(minutes=15)
ATTEMPTS_OF_ONE = 5  # refused sign-ins of one name in that time
ATTEMPTS_OF_ALL = 100
MIN_PASSWORD, MAX_PASSWORD = 10, 1_000
_PATIENCE_SECONDS = 5.0
_ONE_AT_A_TIME = threading.Lock()
_hasher = PasswordHasher()


@dataclass(frozen=True)
class KnownPerson:
    """Somebody who may sign in with a password."""

    person: str
    role: Role
    recorded_at: dt.datetime


def add_person(
    connection: psycopg.Connection, name: str, role: Role, password: str, *, by: str
) -> None:
    """Let somebody sign in, or give them another role and password; their sessions end.

    Raises:
        ChurnError: the name or the password cannot be taken.
    """
    if not name.strip() or name != name.strip() or len(name) > MAX_NAME or not name.isprintable():
        raise ChurnError(f"{name!r} is no name", remedy=f"1 to {MAX_NAME} printable characters")
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise ChurnError(
            "the password is too short"
            if len(password) < MIN_PASSWORD
            else "the password is too long",
            remedy=f"take {MIN_PASSWORD} to {MAX_PASSWORD} characters; a few words in a row do well",
        )
    password_hash = _hasher.hash(password)
    lock(connection, _lock_of(name))
    connection.execute(
        "INSERT INTO console.people (person, role, password_hash) VALUES (%s, %s, %s)"
        " ON CONFLICT (person) DO UPDATE SET role = excluded.role,"
        " password_hash = excluded.password_hash, recorded_at = clock_timestamp()",
        [name, str(role), password_hash],
    )
    _end_sessions(connection, name)
    record(connection, Act.PERSON_ADDED, by, subject=name, role=str(role))


def remove_person(connection: psycopg.Connection, name: str, *, by: str) -> None:
    """Let somebody in no longer; their sessions end.

    Raises:
        ChurnError: nobody is called so.
    """
    lock(connection, _lock_of(name))
    gone = connection.execute("DELETE FROM console.people WHERE person = %s", [name])
    if not gone.rowcount:
        raise ChurnError(
            f"there is nobody called {name}", remedy="`churn person list` shows who there is"
        )
    _end_sessions(connection, name)
    record(connection, Act.PERSON_REMOVED, by, subject=name)


def people(connection: psycopg.Connection) -> list[KnownPerson]:
    """Return who may sign in with a password, by name."""
    rows = connection.execute(
        "SELECT person, role, recorded_at FROM console.people ORDER BY person"
    )
    return [KnownPerson(person, Role.named(role), since) for person, role, since in rows]


def make_link(connection: psycopg.Connection, name: str, role: Role) -> str:
    """Return the token of a link that signs in once, within a day."""
    token = secrets.token_urlsafe(32)
    connection.execute("DELETE FROM console.links WHERE expires_at < clock_timestamp()")
    connection.execute(
        "INSERT INTO console.links (token_sha256, person, role, expires_at)"
        " VALUES (%s, %s, %s, clock_timestamp() + %s)",
        [hashed(token), name, str(role), LINK_TIME],
    )
    record(connection, Act.LINK, name, role=str(role))
    return token


def use_link(connection: psycopg.Connection, token: str) -> str | None:
    """Begin a session and return its token; None where the link was used before, has expired, or is none.

    Of two who come with the same link at once, the second waits for the first, and is refused.
    """
    session = secrets.token_urlsafe(32)
    row = connection.execute(
        "SELECT console.begin_by_link(%s, %s)", [hashed(token), hashed(session)]
    ).fetchone()
    if row is None or row[0] is None:
        return None
    record(connection, Act.SIGN_IN, row[0], by="link")
    return session


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Let one sign-in by password through at a time: a hash takes 64 MiB, and attempts are counted in order.

    It is entered before a connection is taken: who waits here keeps no page from the database.

    Raises:
        TooManyAttemptsError: too many wait already.
    """
    if not _ONE_AT_A_TIME.acquire(timeout=_PATIENCE_SECONDS):
        raise TooManyAttemptsError("Too many want to sign in just now.", "Try again in a minute.")
    try:
        yield
    finally:
        _ONE_AT_A_TIME.release()


def sign_in(connection: psycopg.Connection, name: str, password: str) -> str | None:
    """Begin a session and return its token; None where name and password do not belong together.

    Raises:
        TooManyAttemptsError: of this name, or of all, too many were refused lately.
    """
    name = name[:MAX_NAME].replace("\0", "\N{REPLACEMENT CHARACTER}")  # Postgres keeps no NUL
    _refuse_guessing(connection, name)
    row = connection.execute(
        "SELECT password_hash FROM console.people WHERE person = %s", [name]
    ).fetchone()
    # Somebody who is not there takes as long as a wrong password.
    is_right = _verify(row[0] if row else _nobodys_hash(), password[: MAX_PASSWORD + 1])
    # Verifying takes its time: whoever was removed or changed meanwhile gets no session of before.
    lock(connection, _lock_of(name))
    session = secrets.token_urlsafe(32)
    begun = row is not None and is_right and _begin(connection, name, row[0], session)
    if not begun:
        record(connection, Act.SIGN_IN_REFUSED, name)
        return None
    record(connection, Act.SIGN_IN, name, by="password")
    return session


def _begin(connection: psycopg.Connection, name: str, password_hash: str, session: str) -> bool:
    """Begin a session of somebody whose password was verified, if it still is theirs."""
    row = connection.execute(
        "SELECT console.begin_by_password(%s, %s, %s)", [name, password_hash, hashed(session)]
    ).fetchone()
    return row == (True,)


def _lock_of(name: str) -> str:
    return f"console.person {name}"


def end_session(connection: psycopg.Connection, token: str) -> None:
    """Sign out."""
    gone = connection.execute(
        "DELETE FROM console.sessions WHERE token_sha256 = %s RETURNING person", [hashed(token)]
    ).fetchone()
    if gone:
        record(connection, Act.SIGN_OUT, gone[0])


def _end_sessions(connection: psycopg.Connection, name: str) -> None:
    # Links first: this waits for whoever is using one, whose session then ends, too.
    connection.execute("DELETE FROM console.links WHERE person = %s", [name])
    connection.execute("DELETE FROM console.sessions WHERE person = %s", [name])


def _refuse_guessing(connection: psycopg.Connection, name: str) -> None:
    row = connection.execute(
        "SELECT count(*) FILTER (WHERE person = %s) >= %s OR count(*) >= %s FROM console.acts"
        " WHERE act = %s AND recorded_at > clock_timestamp() - %s",
        [name, ATTEMPTS_OF_ONE, ATTEMPTS_OF_ALL, str(Act.SIGN_IN_REFUSED), ATTEMPTS_TIME],
    ).fetchone()
    if row == (True,):
        raise TooManyAttemptsError(
            "Too many sign-ins were refused.",
            f"Wait {ATTEMPTS_TIME.seconds // 60} minutes, or ask whoever runs the console"
            " for a link (`churn console`).",
        )


def _verify(password_hash: str, password: str) -> bool:
    try:
        return _hasher.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False


@functools.cache
def _nobodys_hash() -> str:
    return _hasher.hash(secrets.token_urlsafe(32))
