"""The feature store as a part of the API: opened in the background, asked whether it can answer."""

import contextlib
import datetime as dt
import logging
from collections.abc import Callable
from dataclasses import dataclass

from api.background import Repeater
from api.errors import NotReadyError
from api.features import FeastReader, Reader
from churn.settings import get_settings

LOG = logging.getLogger(__name__)
_RETRY_SECONDS = 1.0
_POSTGRES_SECONDS = 2


@dataclass(frozen=True)
class StoreState:
    """Whether features can be read now, and if not, why."""

    newest: dt.date | None
    problem: str | None

    @property
    def ready(self) -> bool:
        """Features can be read."""
        return self.problem is None


class StorePart:
    """Opens the reader in a thread of its own, trying again until Postgres and Feast are there."""

    def __init__(self, open_reader: Callable[[], Reader]) -> None:
        self._open_reader = open_reader
        self._opened: Reader | None = None
        self._problem = "it is being opened"
        self._opener = Repeater("open-store", self._open, _RETRY_SECONDS)

    def start(self) -> None:
        """Begin to open."""
        self._opener.start()

    def stop(self) -> None:
        """Close what is open."""
        self._opener.stop()
        if self._opened is not None:
            self._opened.close()

    @property
    def reader(self) -> Reader:
        """The open reader; NotReadyError before that."""
        if self._opened is None:
            raise NotReadyError("store", self._problem)
        return self._opened

    def state(self) -> StoreState:
        """Read from the store, and say what came of it."""
        try:
            return StoreState(self.reader.check(), None)
        except NotReadyError as error:
            return StoreState(None, str(error.detail["reason"]))

    def _open(self) -> bool:
        try:
            self._opened = self._open_reader()
        except Exception as error:  # whatever is wrong may be repaired while we wait
            self._problem = f"it cannot be opened ({type(error).__name__})"
            LOG.warning("the feature store cannot be opened yet: %s", error)
            return False
        return True


def open_feast_reader() -> Reader:
    """Open Feast and the pool for publications, as the settings say."""
    from psycopg_pool import ConnectionPool

    from feature_repo.store import open_store

    store = open_store()
    pool = ConnectionPool(
        get_settings().dsn(),
        min_size=1,
        max_size=8,
        timeout=_POSTGRES_SECONDS,
        # Broken connections are found before they are used, and given up soon, not in 5 minutes:
        # readiness must come back with Postgres.
        check=ConnectionPool.check_connection,
        reconnect_timeout=_POSTGRES_SECONDS,
        open=True,
        kwargs={"autocommit": True, "connect_timeout": _POSTGRES_SECONDS},
    )
    with contextlib.ExitStack() as undo:
        undo.callback(pool.close)
        reader = FeastReader(store, pool)
        undo.callback(reader.close)
        reader.warm()
        undo.pop_all()
    return reader
