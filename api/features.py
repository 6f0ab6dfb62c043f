"""The features of users: the online store, opened in the background, and the rows that are read from it.

Rows tell which views are missing, and whether they are those of the newest month. The statement that reads
them is `churn.online.read`.
"""

import asyncio
import contextlib
import datetime as dt
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from api.coalescing import Coalescer
from api.errors import NotReadyError
from churn.contract.in_force import DEFAULT_SERVICE, SERVICE_VERSIONS, SERVICES
from churn.contract.structure import Service
from churn.settings import get_settings

if TYPE_CHECKING:
    from psycopg import AsyncConnection
    from psycopg_pool import AsyncConnectionPool

    from churn.online.read import OnlineRow
    from churn.online.redis_read import AsyncRedisReader


LOG = logging.getLogger(__name__)
NOTHING_PUBLISHED = "no month has been published yet"
NO_RIGHT = "its role may not read the features: run `churn init`"
# Nobody has this id, but reading it exercises the whole path.
_NO_USER = ""


@dataclass(slots=True)
class UserRow:
    """What the online store has about one user; as_of is None for a user that it does not know."""

    user_id: str
    as_of: dt.date | None = None
    values: dict[str, Any] = field(default_factory=dict)
    missing_views: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class FeatureRows:
    """The rows of some users and the newest published month, from one state of the store."""

    newest: dt.date
    users: list[UserRow]

    def is_current(self, user: UserRow) -> bool:
        """Return whether the user is in the newest published month."""
        return user.as_of is not None and user.as_of >= self.newest


@dataclass(frozen=True, slots=True)
class ReleaseInForce:
    """The release that should be served by the promotion ledger, with its version when it was promoted."""

    release_id: str
    version: str
    onnx_sha256: str


class Reader(Protocol):
    """Where features come from."""

    async def read(self, user_ids: Sequence[str], service: Service) -> FeatureRows:
        """Return one row per user id, in order.

        Raises:
            NotReadyError: the store does not answer, or nothing is published.
        """

    async def check(self) -> dt.date:
        """Read through every layer and return the newest as_of; NotReadyError where that fails."""

    async def in_force(self) -> ReleaseInForce | None:
        """Return the release in force; None before the first, or where that cannot be told."""

    async def months_behind(self) -> list[str]:
        """Return a sentence about each month that had failed or waited when the pipeline last looked."""

    async def close(self) -> None:
        """Close the connections."""


class StoreReader:
    """The online store in Postgres, or its copy in Redis, read in the same way as by Feast's interface.

    Feast's own `get_online_features` gives the same answers from the same rows, but its way through registry
    and protobuf takes many times as long as the read.
    """

    def __init__(
        self, pool: "AsyncConnectionPool[Any]", copy: "AsyncRedisReader | None" = None
    ) -> None:
        self._pool = pool
        self._copy = copy

    async def read(self, user_ids: Sequence[str], service: Service) -> FeatureRows:
        """Return one row per user id, in order."""
        newest, rows = await self._rows(user_ids, service)
        if newest is None:
            raise NotReadyError("store", NOTHING_PUBLISHED)
        return FeatureRows(_day(newest), [_user_row(row) for row in rows])

    async def check(self) -> dt.date:
        """Read through every layer and return the newest as_of; NotReadyError if that fails."""
        readings = [await self.read([_NO_USER], service) for service in SERVICES]
        return readings[-1].newest

    async def in_force(self) -> ReleaseInForce | None:
        """Return the release in force; None before the first, or where that cannot be told."""
        import psycopg

        query = "SELECT release_id, version, onnx_sha256 FROM online.release_in_force"
        try:
            async with self._pool.connection() as connection:
                row = await (await connection.execute(query)).fetchone()
        except psycopg.Error:
            # What is served does not depend on it.
            return None
        return ReleaseInForce(*row) if row else None

    async def months_behind(self) -> list[str]:
        """Return a sentence about each month that had failed or waited when the pipeline last looked."""
        import psycopg

        query = "SELECT sentence FROM online.months_behind ORDER BY month, stage"
        try:
            async with self._pool.connection() as connection:
                cursor = await connection.execute(query)
                return list(dict.fromkeys(row[0] for row in await cursor.fetchall()))
        except psycopg.Error:
            # What is served does not depend on it.
            return []

    async def close(self) -> None:
        """Close the connections."""
        if self._copy is not None:
            await self._copy.aclose()
        await self._pool.close()

    async def _rows(
        self, user_ids: Sequence[str], service: Service
    ) -> "tuple[dt.datetime | None, list[OnlineRow]]":
        if self._copy is not None:
            return await _copied_rows(self._copy, user_ids, service)
        import psycopg

        from churn.online.read import read_pooled_async

        try:
            return await read_pooled_async(self._pool, user_ids, service.views)
        except psycopg.OperationalError as error:
            reason = f"Postgres does not answer ({type(error).__name__})"
            raise NotReadyError("store", reason) from error
        except psycopg.errors.InsufficientPrivilege as error:
            raise NotReadyError("store", NO_RIGHT) from error
        except psycopg.Error as error:
            LOG.warning("the features cannot be read", exc_info=True)
            reason = f"Postgres cannot read the features ({type(error).__name__}): run `churn init`"
            raise NotReadyError("store", reason) from error


async def _copied_rows(
    copy: "AsyncRedisReader", user_ids: Sequence[str], service: Service
) -> "tuple[dt.datetime | None, list[OnlineRow]]":
    from redis.exceptions import RedisClusterException, RedisError

    try:
        return await copy.read(user_ids, service.views)
    except (RedisError, RedisClusterException) as error:
        reason = f"Redis does not answer ({type(error).__name__})"
        raise NotReadyError("store", reason) from error


def _user_row(row: "OnlineRow") -> UserRow:
    as_of = _day(row.as_of) if row.as_of else None
    return UserRow(row.user_id, as_of, row.values, row.missing_views)


def _day(instant: dt.datetime) -> dt.date:
    return instant.astimezone(dt.UTC).date()


_RETRY_SECONDS = 1.0
_POSTGRES_SECONDS = 2


@dataclass(frozen=True)
class StoreState:
    """Whether features can be read now, and if not, why; and sentences about months that are behind."""

    newest: dt.date | None
    problem: str | None
    months_behind: Sequence[str] = ()

    @property
    def ready(self) -> bool:
        """Whether features can be read."""
        return self.problem is None


class StorePart:
    """Opens the reader in the background, retrying until Postgres and the features are there."""

    def __init__(
        self,
        open_reader: Callable[[], Awaitable[Reader]],
        retry_seconds: float = _RETRY_SECONDS,
    ) -> None:
        self._open_reader, self._retry_seconds = open_reader, retry_seconds
        self._opened: Reader | None = None
        self._problem = "it is being opened"
        self._opening: asyncio.Task[None] | None = None
        self._together = Coalescer(self._read)

    def start(self) -> None:
        """Start opening the store; to be called in the event loop that will read."""
        self._opening = asyncio.create_task(self._open(), name="open-store")

    async def stop(self) -> None:
        """Stop opening the store, and close it if it is open."""
        if self._opening is not None:
            self._opening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._opening
        if self._opened is not None:
            await self._opened.close()

    @property
    def reader(self) -> Reader:
        """The open reader; NotReadyError before that."""
        if self._opened is None:
            raise NotReadyError("store", self._problem)
        return self._opened

    async def read_one(self, user_id: str) -> FeatureRows:
        """Read one user's features of the default service, in one read with all requests of the moment."""
        return await self._together.get(user_id)

    async def state(self) -> StoreState:
        """Read from the store, and return whether that worked."""
        try:
            newest = await self.reader.check()
            return StoreState(newest, None, await self.reader.months_behind())
        except NotReadyError as error:
            return StoreState(None, str(error.detail["reason"]))

    async def in_force(self) -> ReleaseInForce | None:
        """Return the release that the ledger says should be served, or None if that is not known."""
        return await self._opened.in_force() if self._opened else None

    async def _read(self, user_ids: Sequence[str]) -> list[FeatureRows]:
        reading = await self.reader.read(user_ids, DEFAULT_SERVICE)
        return [FeatureRows(reading.newest, [user]) for user in reading.users]

    async def _open(self) -> None:
        while True:
            try:
                self._opened = await self._open_reader()
            except Exception as error:
                # Whatever is wrong may be fixed while we wait.
                self._problem = f"it cannot be opened ({type(error).__name__})"
                LOG.warning("the feature store cannot be opened yet: %s", error)
                await asyncio.sleep(self._retry_seconds)
            else:
                return


async def open_store_reader() -> Reader:
    """Open the reader with a pool of connections, by the settings."""
    from psycopg_pool import AsyncConnectionPool

    from churn.database import process_name
    from churn.online.read import CONNECTION, POOL

    # A call waits for the one before it, so none may take for ever.
    options = f"{CONNECTION['options']} -c statement_timeout={_POSTGRES_SECONDS}s"
    # One read is of many requests at once, so it has the name of this process, and not a request's.
    named = {"options": options, "application_name": process_name()}
    settings = POOL | {"kwargs": CONNECTION | named}
    pool = AsyncConnectionPool(get_settings().dsn(), open=False, **settings)
    async with contextlib.AsyncExitStack() as undo:
        undo.push_async_callback(pool.close)
        await pool.open(wait=True, timeout=_POSTGRES_SECONDS)
        async with pool.connection() as connection:
            await _require_registered(connection)
        copy = None
        if get_settings().online == "redis":
            from churn.online.redis_read import AsyncRedisReader

            copy = await AsyncRedisReader.open()
        undo.pop_all()
    return StoreReader(pool, copy)


async def _require_registered(connection: "AsyncConnection[Any]") -> None:
    """Raise LookupError unless Feast's registry has the services that are served."""
    registered = await connection.execute("SELECT feature_service_name FROM feast.feature_services")
    served = {name for each in SERVICE_VERSIONS for name in (each.name, each.versioned_name)}
    missing = served - {row[0] for row in await registered.fetchall()}
    if missing:
        raise LookupError(f"Feast's registry has no {', '.join(sorted(missing))}: run `churn init`")
