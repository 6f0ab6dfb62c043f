"""The feature store as a part of the API: opened in the background, asked whether it can answer."""

import asyncio
import contextlib
import datetime as dt
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from api.coalescing import Coalescer
from api.errors import NotReadyError
from api.features import Reader, Reading, ReleaseInForce, StoreReader
from churn.contract.features import DEFAULT_SERVICE, SERVICE_VERSIONS
from churn.settings import get_settings

if TYPE_CHECKING:
    from psycopg import AsyncConnection

LOG = logging.getLogger(__name__)
_RETRY_SECONDS = 1.0
_POSTGRES_SECONDS = 2


@dataclass(frozen=True)
class StoreState:
    """Whether features can be read now, and if not, why."""

    newest: dt.date | None
    problem: str | None
    months_behind: Sequence[str] = ()  # what the pipeline found failed or waiting

    @property
    def ready(self) -> bool:
        """Features can be read."""
        return self.problem is None


class StorePart:
    """Opens the reader in the background, trying again until Postgres and the features are there."""

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
        """Begin to open; call it in the event loop that will read."""
        self._opening = asyncio.create_task(self._open(), name="open-store")

    async def stop(self) -> None:
        """Close what is open."""
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

    async def read_one(self, user_id: str) -> Reading:
        """Read one user's features of the default service, together with all who ask at the same time."""
        return await self._together.get(user_id)

    async def state(self) -> StoreState:
        """Read from the store, and say what came of it."""
        try:
            newest = await self.reader.check()
            return StoreState(newest, None, await self.reader.months_behind())
        except NotReadyError as error:
            return StoreState(None, str(error.detail["reason"]))

    async def in_force(self) -> ReleaseInForce | None:
        """Return the release that the ledger says is to be served; None where that cannot be told."""
        return await self._opened.in_force() if self._opened else None

    async def _read(self, user_ids: Sequence[str]) -> list[Reading]:
        reading = await self.reader.read(user_ids, DEFAULT_SERVICE)
        return [Reading(reading.newest, [user]) for user in reading.users]

    async def _open(self) -> None:
        while True:
            try:
                self._opened = await self._open_reader()
            except Exception as error:  # whatever is wrong may be repaired while we wait
                self._problem = f"it cannot be opened ({type(error).__name__})"
                LOG.warning("the feature store cannot be opened yet: %s", error)
                await asyncio.sleep(self._retry_seconds)
            else:
                return


async def open_store_reader() -> Reader:
    """Open the pool of readers, as the settings say."""
    from psycopg_pool import AsyncConnectionPool

    from churn.online_reads import CONNECTION, POOL

    # One call waits for the one before it, so none may take for ever.
    options = f"{CONNECTION['options']} -c statement_timeout={_POSTGRES_SECONDS}s"
    settings = POOL | {"kwargs": CONNECTION | {"options": options}}
    pool = AsyncConnectionPool(get_settings().dsn(), open=False, **settings)
    async with contextlib.AsyncExitStack() as undo:
        undo.push_async_callback(pool.close)
        await pool.open(wait=True, timeout=_POSTGRES_SECONDS)
        async with pool.connection() as connection:
            await _require_registered(connection)
        undo.pop_all()
    return StoreReader(pool)


async def _require_registered(connection: "AsyncConnection[Any]") -> None:
    """Raise LookupError unless the services that are served are those of Feast's registry."""
    found = await connection.execute("SELECT feature_service_name FROM feast.feature_services")
    served = {name for each in SERVICE_VERSIONS for name in (each.name, each.versioned_name)}
    missing = served - {row[0] for row in await found.fetchall()}
    if missing:
        raise LookupError(f"Feast's registry has no {', '.join(sorted(missing))}: run `churn init`")
