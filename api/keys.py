"""The keys that the API lets in, read again every few seconds: one that was removed is soon let in no longer.

Requests ask the list in memory and never Postgres: a flood of keys that are none costs a look into a
dictionary each. Of a key's use the day is written down, at most once a day. A list that has not been read for
minutes lets nobody in, since keys may have been removed from it meanwhile.
"""

import datetime as dt
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, LiteralString

from api.champion import Repeater
from api.errors import NoKeyError, NotReadyError, ScopeError
from churn.api_keys import Scope, hashed
from churn.settings import get_settings

if TYPE_CHECKING:
    import psycopg

LOG = logging.getLogger(__name__)
POLL_SECONDS = 2.0
# A restart of Postgres takes less; and no longer than this does a removed key work.
TRUSTED_SECONDS = 300.0
# More than anybody hands out; the list is held in memory.
MOST_KEYS = 10_000
_READ: LiteralString = (
    "SELECT key_sha256, name, scopes, expires_on, last_used_on FROM access.api_keys"
    " ORDER BY name LIMIT %s"
)
_USED: LiteralString = (
    "UPDATE access.api_keys SET last_used_on = %s WHERE name = ANY(%s)"
    " AND last_used_on IS DISTINCT FROM %s"
)


@dataclass(frozen=True, slots=True)
class KnownKey:
    """One key as a request is held against it."""

    name: str
    scopes: frozenset[str]
    expires_on: dt.date | None
    last_used_on: dt.date | None

    def refuse_unless(self, scope: Scope | None) -> None:
        """Raise a ScopeError where the key is for other things."""
        if scope is not None and scope not in self.scopes and Scope.ADMIN not in self.scopes:
            raise ScopeError(scope, sorted(self.scopes))


class KeyRing:
    """The keys of the database, by the hash of each.

    Args:
        open_connection: returns a connection of the API's role that may write the day of a use.
        interval: seconds between two looks.
        clock: returns seconds; by it the list grows old.
    """

    def __init__(
        self,
        open_connection: "Callable[[], psycopg.Connection[Any]] | None" = None,
        interval: float = POLL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open = open_connection or _open_connection
        self._connection: psycopg.Connection[Any] | None = None
        self._clock = clock
        self._keys: dict[str, KnownKey] | None = None
        # When the reading of these keys began.
        self._read_at = 0.0
        self._problem = "they are being read"
        self._used: set[str] = set()
        self._poller = Repeater("read-keys", self.poll, interval)

    def start(self) -> None:
        """Start reading."""
        self._poller.start()

    def stop(self) -> None:
        """Stop reading, and close the connection."""
        self._poller.stop()
        self._close()

    def known(self, authorization: bytes) -> KnownKey:
        """Return the key of a request, by its header `Authorization`.

        Raises:
            NoKeyError: it carries none that is let in.
            NotReadyError: it is not known which keys are.
        """
        keys = self._keys
        if keys is None:
            raise NotReadyError("keys", self._problem)
        if self._clock() - self._read_at > TRUSTED_SECONDS:
            raise NotReadyError("keys", f"they were read too long ago: {self._problem}")
        kind, _, key = authorization.decode("latin-1").partition(" ")
        known = keys.get(hashed(key.strip())) if kind.lower() == "bearer" else None
        if known is None:
            raise NoKeyError
        today = dt.datetime.now(dt.UTC).date()
        if known.expires_on is not None and known.expires_on < today:
            raise NoKeyError
        if known.last_used_on != today:
            self._used.add(known.name)
        return known

    def poll(self) -> None:
        """Read the keys, and write down which were used.

        While Postgres does not answer, the list stays as it is, for TRUSTED_SECONDS: others may reach it all
        the same and remove a key, and features may come from Redis.
        """
        import psycopg

        began = self._clock()
        try:
            self._keys = self._read()
            self._read_at = began
        except psycopg.OperationalError as error:
            self._problem = f"Postgres does not answer ({type(error).__name__})"
            self._close()
        except psycopg.Error as error:
            # Somebody may remove a key meanwhile, and it must not stay known.
            LOG.warning("the keys cannot be read", exc_info=True)
            self._keys = None
            self._problem = f"Postgres cannot read them ({type(error).__name__}): run `churn init`"
            self._close()
        else:
            self._write_days()

    def _read(self) -> dict[str, KnownKey]:
        return {
            key_sha256: KnownKey(name, frozenset(scopes), expires_on, last_used_on)
            for key_sha256, name, scopes, expires_on, last_used_on in self._execute(
                _READ, [MOST_KEYS]
            )
        }

    def _write_days(self) -> None:
        import psycopg

        used, self._used = self._used, set()
        if not used:
            return
        today = dt.datetime.now(dt.UTC).date()
        try:
            self._execute(_USED, [today, sorted(used), today])
        except psycopg.Error:
            # Whether a key is let in does not depend on it.
            LOG.warning("the days on which keys were used cannot be written", exc_info=True)
            self._close()

    def _execute(self, statement: LiteralString, values: list[Any]) -> "psycopg.Cursor[Any]":
        if self._connection is None:
            self._connection = self._open()
        return self._connection.execute(statement, values)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _open_connection() -> "psycopg.Connection[Any]":
    import psycopg

    # The role reads only, unless it says otherwise; of these tables it may write one column.
    options = "-c default_transaction_read_only=off -c statement_timeout=2s -c TimeZone=UTC"
    return psycopg.connect(
        get_settings().dsn(),
        autocommit=True,
        connect_timeout=2,
        options=options,
        application_name="churn api, keys",
    )
