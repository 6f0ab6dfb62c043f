"""The two parts that the API rests on, the feature store and the champion, and how routes get them."""

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from api.champion import ChampionWatcher, MlflowRegistry
from api.features import StorePart, open_store_reader
from api.predictor import Predictor
from churn.settings import get_settings


class Parts:
    """The parts of the API, which are started and stopped with the application."""

    def __init__(self, store: StorePart, champions: ChampionWatcher) -> None:
        self.store, self.champions = store, champions
        self.predictor = Predictor(store)

    @classmethod
    def from_settings(cls) -> "Parts":
        """Return the parts of production, not yet started."""
        registry = MlflowRegistry(get_settings().mlflow_tracking_uri)
        return cls(StorePart(open_store_reader), ChampionWatcher(registry))

    def start(self) -> None:
        """Start opening the store and polling for the champion."""
        self.store.start()
        self.champions.start()

    async def stop(self) -> None:
        """Close everything."""
        await run_in_threadpool(self.champions.stop)
        await self.store.stop()


def parts_of(request: Request) -> Parts:
    """Return the parts behind a request. A plain call, since a dependency adds a tenth to a quick answer."""
    parts: Parts = request.app.state.parts
    return parts
