from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from api.champion import ChampionWatcher
from api.dependencies import Parts
from api.features import StorePart
from api.main import create_app
from tests.kit.api_fakes import MemoryReader, MemoryRegistry
from tests.kit.waiting import until


@pytest.fixture
def reader() -> MemoryReader:
    return MemoryReader()


@pytest.fixture
def registry() -> MemoryRegistry:
    return MemoryRegistry()


@pytest.fixture
def unready(reader: MemoryReader, registry: MemoryRegistry) -> Iterator[TestClient]:
    """The application with its threads, on the stores in memory; nothing is promoted yet."""

    async def open_reader() -> MemoryReader:
        return reader

    def make_parts() -> Parts:
        return Parts(StorePart(open_reader), ChampionWatcher(registry, interval=0.01))

    app = create_app(make_parts)
    with TestClient(app, "http://localhost", raise_server_exceptions=False) as client:
        until(lambda: client.get("/health").json()["store"]["ready"] or reader.down)
        yield client


@pytest.fixture
def client(unready: TestClient, registry: MemoryRegistry) -> TestClient:
    registry.promote(0.75)
    until(lambda: unready.get("/health/ready").status_code == 200)
    return unready
