"""Reading the features of users through Feast: whose they are, as of when, and which views have no row."""

import asyncio
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from api.errors import NotReadyError
from churn.contract.features import DEFAULT_SERVICE, SERVICES, Service

if TYPE_CHECKING:
    from feast import FeatureStore
    from psycopg_pool import ConnectionPool

NOTHING_PUBLISHED = "no month has been published yet"
_NO_USER = ""  # nobody's id: asking for it exercises the whole path


@dataclass
class UserRow:
    """What the online store holds of one user; as_of is None for a user it does not know."""

    user_id: str
    as_of: dt.date | None = None
    values: dict[str, Any] = field(default_factory=dict)
    missing_views: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Reading:
    """The rows of some users, and the newest published month as it was before they were read."""

    newest: dt.date
    users: list[UserRow]

    def is_current(self, user: UserRow) -> bool:
        """Say whether the user is in the newest published month."""
        return user.as_of is not None and user.as_of >= self.newest


class Reader(Protocol):
    """Where features come from."""

    def newest(self) -> dt.date | None:
        """Return the as_of of the newest published month, or None before the first."""

    def read(self, user_ids: Sequence[str], service: Service) -> Reading:
        """Return one row per user id, in order.

        Raises:
            NotReadyError: the store does not answer, or nothing is published.
        """

    def check(self) -> dt.date:
        """Read through every layer and return the newest as_of; NotReadyError where that fails."""

    def close(self) -> None:
        """Give back the connections."""


class FeastReader:
    """The features of Feast's online store, and the publications behind them."""

    def __init__(self, store: "FeatureStore", pool: "ConnectionPool") -> None:
        self._store, self._pool = store, pool
        self._services = {s.name: store.get_feature_service(s.name) for s in SERVICES}

    def newest(self) -> dt.date | None:
        """Return the as_of of the newest published month, or None before the first."""
        import psycopg

        from churn.online_reads import newest_publication

        try:
            with self._pool.connection() as connection:
                newest = newest_publication(connection)
        except psycopg.OperationalError as error:
            raise _unreachable(error) from error
        return newest.astimezone(dt.UTC).date() if newest else None

    def read(self, user_ids: Sequence[str], service: Service) -> Reading:
        """Return one row per user id, in order."""
        # Before the rows: a publication in between must not make its users look gone.
        newest = self.newest()
        if newest is None:
            raise NotReadyError("store", NOTHING_PUBLISHED)
        return Reading(newest, self._rows(user_ids, service))

    def check(self) -> dt.date:
        """Read through every layer and return the newest as_of; NotReadyError where that fails."""
        newest = self.newest()
        for service in SERVICES:
            self._rows([_NO_USER], service)
        if newest is None:
            raise NotReadyError("store", NOTHING_PUBLISHED)
        return newest

    def warm(self) -> None:
        """Make the first request as quick as the next: connections, registry, statements."""
        self._rows([_NO_USER], DEFAULT_SERVICE)

    def close(self) -> None:
        """Give back the connections, Feast's too."""
        self._pool.close()
        asyncio.run(self._store.close())

    def _rows(self, user_ids: Sequence[str], service: Service) -> list[UserRow]:
        import psycopg
        import sqlalchemy.exc

        try:
            answer = self._store.get_online_features(
                self._services[service.name], {"user_id": list(user_ids)}
            )
        except (psycopg.OperationalError, sqlalchemy.exc.OperationalError) as error:
            raise _unreachable(error) from error
        return user_rows(answer.proto, user_ids, service)


def user_rows(proto: Any, user_ids: Sequence[str], service: Service) -> list[UserRow]:
    """Read Feast's answer: a view without a row has no feature found; a stored null is a value."""
    from feast.protos.feast.serving.ServingService_pb2 import FieldStatus

    vectors = dict(zip(proto.metadata.feature_names.val, proto.results, strict=True))
    rows = [UserRow(user_id) for user_id in user_ids]
    newest = [0] * len(rows)  # seconds; 0 where no view has a row
    for view in service.views:
        found = vectors[view.features[0].name]
        cells = zip(rows, found.statuses, found.event_timestamps, strict=True)
        for at, (row, status, stamp) in enumerate(cells):
            if status == FieldStatus.NOT_FOUND:
                row.missing_views.append(view.name)
            else:
                newest[at] = max(newest[at], stamp.seconds)
        for feature in view.features:
            for row, value in zip(rows, vectors[feature.name].values, strict=True):
                row.values[feature.name] = _python(value)
    for row, seconds in zip(rows, newest, strict=True):
        row.as_of = dt.datetime.fromtimestamp(seconds, dt.UTC).date() if seconds else None
    return rows


def shortest_float32(value: float) -> float:
    """Return the number with the shortest text that reads back as this float32: 29.85."""
    import numpy as np

    return float(str(np.float32(value)))


def _python(value: Any) -> Any:
    kind = value.WhichOneof("val")
    if kind is None:
        return None
    read = getattr(value, kind)
    return shortest_float32(read) if kind == "float_val" else read


def _unreachable(error: Exception) -> NotReadyError:
    return NotReadyError("store", f"Postgres does not answer ({type(error).__name__})")
