"""The API's keys: who may ask it, and for what.

A key is 256 random bits with a beginning that says whose it is, so its SHA-256 is all that is kept: nobody
comes from that back to the key, however quick the hash is. A slow one such as argon2, of which the console
keeps its passwords, protects what people choose and others may guess; here it would protect nothing, and make
every request dear. What the API does with keys is `api.keys`.
"""

import datetime as dt
import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import psycopg

from churn.errors import ChurnError

BEGINNING = "churn_"
MAX_NAME = 100
# The name of the key of the platform's own programs: CHURN_API_KEY.
OWN_KEY = "platform"
_SHOWN = len(BEGINNING) + 6


class Scope(StrEnum):
    """What a key may be used for."""

    FEATURES = "features"
    PREDICT = "predict"
    EXPLAIN = "explain"
    METRICS = "metrics"
    ADMIN = "admin"  # all of these


# What the platform's own programs ask: smoke check, console, `churn predict`, Prometheus.
OWN_SCOPES = (Scope.FEATURES, Scope.PREDICT, Scope.EXPLAIN, Scope.METRICS)


@dataclass(frozen=True)
class ApiKey:
    """One key, as people may see it.

    Attributes:
        beginning: the key's first characters, too few to use it.
        expires_on: the last day, in UTC, on which it is let in; None: it has none.
    """

    name: str
    beginning: str
    scopes: tuple[Scope, ...]
    expires_on: dt.date | None
    last_used_on: dt.date | None
    recorded_at: dt.datetime


def hashed(key: str) -> str:
    """Return what is kept of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def add_key(
    connection: psycopg.Connection,
    name: str,
    scopes: Iterable[Scope],
    expires_on: dt.date | None = None,
) -> str:
    """Make a key and return it; nobody can read it again.

    Raises:
        ChurnError: the name cannot be taken, or the key would have expired already.
    """
    if not name.strip() or name != name.strip() or len(name) > MAX_NAME or not name.isprintable():
        raise ChurnError(f"{name!r} is no name", remedy=f"1 to {MAX_NAME} printable characters")
    if name == OWN_KEY:
        raise ChurnError(
            f"{OWN_KEY} is the name of the key in CHURN_API_KEY",
            remedy="take another name; `churn init` makes known what CHURN_API_KEY holds",
        )
    today = connection.execute("SELECT (clock_timestamp() AT TIME ZONE 'UTC')::date").fetchone()
    if expires_on and today and expires_on < today[0]:
        raise ChurnError(
            f"{expires_on} is over", where="--expires-on", remedy="name a day that is still to come"
        )
    key = BEGINNING + secrets.token_urlsafe(32)
    inserted = connection.execute(
        "INSERT INTO access.api_keys (name, key_sha256, beginning, scopes, expires_on)"
        " VALUES (%s, %s, %s, %s, %s) ON CONFLICT (name) DO NOTHING",
        [name, hashed(key), key[:_SHOWN], [str(each) for each in scopes], expires_on],
    )
    if not inserted.rowcount:
        raise ChurnError(
            f"there is a key called {name} already",
            remedy="take another name; or `churn key remove` it first, and its holder is let in no longer",
        )
    return key


def keep_own_key(connection: psycopg.Connection, key: str) -> None:
    """Let the platform's own programs in by this key, and no longer by one that they had before.

    Raises:
        ChurnError: it is somebody else's key.
    """
    other = connection.execute(
        "SELECT name FROM access.api_keys WHERE key_sha256 = %s AND name <> %s",
        [hashed(key), OWN_KEY],
    ).fetchone()
    if other:
        raise ChurnError(
            f"it is the key of {other[0]}",
            where="CHURN_API_KEY",
            remedy="give the platform one of its own, as .env.example says",
        )
    if is_own_key(connection, key):
        return
    connection.execute(
        "INSERT INTO access.api_keys (name, key_sha256, beginning, scopes) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT (name) DO UPDATE SET key_sha256 = excluded.key_sha256,"
        " beginning = excluded.beginning, scopes = excluded.scopes, expires_on = NULL,"
        " recorded_at = clock_timestamp()",
        [OWN_KEY, hashed(key), "(CHURN_API_KEY)", [str(each) for each in OWN_SCOPES]],
    )


def is_own_key(connection: psycopg.Connection, key: str) -> bool:
    """Return whether `keep_own_key` kept this one last."""
    row = connection.execute(
        "SELECT key_sha256 = %s AND scopes = %s FROM access.api_keys WHERE name = %s",
        [hashed(key), [str(each) for each in OWN_SCOPES], OWN_KEY],
    ).fetchone()
    return row == (True,)


def remove_key(connection: psycopg.Connection, name: str) -> None:
    """Let a key in no longer; the API notices within seconds.

    Raises:
        ChurnError: there is no such key.
    """
    gone = connection.execute("DELETE FROM access.api_keys WHERE name = %s", [name])
    if not gone.rowcount:
        raise ChurnError(
            f"there is no key called {name}", remedy="`churn key list` shows which there are"
        )


def api_keys(connection: psycopg.Connection) -> list[ApiKey]:
    """Return the keys by name."""
    rows = connection.execute(
        "SELECT name, beginning, scopes, expires_on, last_used_on, recorded_at"
        " FROM access.api_keys ORDER BY name"
    )
    return [
        ApiKey(name, beginning, tuple(map(Scope, scopes)), expires_on, last_used_on, recorded_at)
        for name, beginning, scopes, expires_on, last_used_on, recorded_at in rows
    ]
