"""The two parts that the API stands on, the feature store and the champion, and how routes get at them."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from api.champion import ChampionWatcher
from api.registry import MlflowRegistry
from api.store import StorePart, open_feast_reader
from churn.settings import get_settings


@dataclass(frozen=True)
class Parts:
    """Started and stopped with the application."""

    store: StorePart
    champions: ChampionWatcher

    @classmethod
    def from_settings(cls) -> "Parts":
        """Return the real ones, not yet started."""
        registry = MlflowRegistry(get_settings().mlflow_tracking_uri)
        return cls(StorePart(open_feast_reader), ChampionWatcher(registry))

    def start(self) -> None:
        """Begin to open the store and to look for the champion."""
        self.store.start()
        self.champions.start()

    def stop(self) -> None:
        """Close everything."""
        self.champions.stop()
        self.store.stop()


async def _parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


PartsDep = Annotated[Parts, Depends(_parts)]
