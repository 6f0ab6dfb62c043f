"""The parts that the API rests on, the feature store, the champion and the keys, and how routes get them."""

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from api.champion import ChampionWatcher, MlflowRegistry
from api.features import StorePart, open_store_reader
from api.keys import KeyRing
from api.predictor import Predictor
from churn.settings import get_settings


class Parts:
    """The parts of the API, which are started and stopped with the application.

    Args:
        keys: None where the API asks for none.
    """

    def __init__(
        self, store: StorePart, champions: ChampionWatcher, keys: KeyRing | None = None
    ) -> None:
        self.store, self.champions, self.keys = store, champions, keys
        self.predictor = Predictor(store)

    @classmethod
    def from_settings(cls) -> "Parts":
        """Return the parts of production, not yet started."""
        settings = get_settings()
        registry = MlflowRegistry(settings.mlflow_tracking_uri)
        keys = KeyRing() if settings.api_keys == "required" else None
        return cls(StorePart(open_store_reader), ChampionWatcher(registry), keys)

    def start(self) -> None:
        """Start opening the store and polling for the champion."""
        self.store.start()
        self.champions.start()
        if self.keys is not None:
            self.keys.start()

    async def stop(self) -> None:
        """Close everything."""
        if self.keys is not None:
            await run_in_threadpool(self.keys.stop)
        await run_in_threadpool(self.champions.stop)
        await self.store.stop()


def parts_of(request: Request) -> Parts:
    """Return the parts behind a request. A plain call, since a dependency adds a tenth to a quick answer."""
    parts: Parts = request.app.state.parts
    return parts
