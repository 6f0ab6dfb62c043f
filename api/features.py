"""Reading the features of users: whose they are, as of when, and which views have no row."""

import datetime as dt
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from api.errors import NotReadyError
from churn.contract.features import SERVICES, Service

if TYPE_CHECKING:
    from psycopg_pool import AsyncConnectionPool

    from churn.online_reads import OnlineRow

LOG = logging.getLogger(__name__)
NOTHING_PUBLISHED = "no month has been published yet"
NO_RIGHT = "its role may not read the features: run `churn init`"
_NO_USER = ""  # nobody's id: asking for it exercises the whole path


@dataclass(slots=True)
class UserRow:
    """What the online store holds of one user; as_of is None for a user it does not know."""

    user_id: str
    as_of: dt.date | None = None
    values: dict[str, Any] = field(default_factory=dict)
    missing_views: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Reading:
    """The rows of some users and the newest published month, of one state of the store."""

    newest: dt.date
    users: list[UserRow]

    def is_current(self, user: UserRow) -> bool:
        """Say whether the user is in the newest published month."""
        return user.as_of is not None and user.as_of >= self.newest


@dataclass(frozen=True, slots=True)
class ReleaseInForce:
    """What the promotion ledger says is to be served."""

    release_id: str
    version: str  # in MLflow, when it was promoted
    onnx_sha256: str


class Reader(Protocol):
    """Where features come from."""

    async def read(self, user_ids: Sequence[str], service: Service) -> Reading:
        """Return one row per user id, in order.

        Raises:
            NotReadyError: the store does not answer, or nothing is published.
        """

    async def check(self) -> dt.date:
        """Read through every layer and return the newest as_of; NotReadyError where that fails."""

    async def in_force(self) -> ReleaseInForce | None:
        """Return the release in force; None before the first, or where that cannot be told."""

    async def months_behind(self) -> list[str]:
        """Return what the pipeline found failed or waiting at its last look, a sentence each."""

    async def close(self) -> None:
        """Give back the connections."""


class StoreReader:
    """The online store in Postgres, read by the statement of its Feast interface.

    Feast's own `get_online_features` answers the same from the same rows; its way through registry and
    protobuf takes many times as long as the read.
    """

    def __init__(self, pool: "AsyncConnectionPool[Any]") -> None:
        self._pool = pool

    async def read(self, user_ids: Sequence[str], service: Service) -> Reading:
        """Return one row per user id, in order."""
        newest, rows = await self._rows(user_ids, service)
        if newest is None:
            raise NotReadyError("store", NOTHING_PUBLISHED)
        return Reading(_day(newest), [_user_row(row) for row in rows])

    async def check(self) -> dt.date:
        """Read through every layer and return the newest as_of; NotReadyError where that fails."""
        readings = [await self.read([_NO_USER], service) for service in SERVICES]
        return readings[-1].newest

    async def in_force(self) -> ReleaseInForce | None:
        """Return the release in force; None before the first, or where that cannot be told."""
        import psycopg

        query = "SELECT release_id, version, onnx_sha256 FROM online.release_in_force"
        try:
            async with self._pool.connection() as connection:
                row = await (await connection.execute(query)).fetchone()
        except psycopg.Error:  # what is served does not depend on it
            return None
        return ReleaseInForce(*row) if row else None

    async def months_behind(self) -> list[str]:
        """Return what the pipeline found failed or waiting at its last look, a sentence each."""
        import psycopg

        query = "SELECT sentence FROM online.months_behind ORDER BY month, stage"
        try:
            async with self._pool.connection() as connection:
                cursor = await connection.execute(query)
                return list(dict.fromkeys(row[0] for row in await cursor.fetchall()))
        except psycopg.Error:  # what is served does not depend on it
            return []

    async def close(self) -> None:
        """Give back the connections."""
        await self._pool.close()

    async def _rows(
        self, user_ids: Sequence[str], service: Service
    ) -> "tuple[dt.datetime | None, list[OnlineRow]]":
        import psycopg

        from churn.online_reads import read_pooled_async

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


def _user_row(row: "OnlineRow") -> UserRow:
    as_of = _day(row.as_of) if row.as_of else None
    return UserRow(row.user_id, as_of, row.values, row.missing_views)


def _day(instant: dt.datetime) -> dt.date:
    return instant.astimezone(dt.UTC).date()
