import asyncio
import threading

import httpx
import pytest
from fastapi.testclient import TestClient

from api.champion import ChampionWatcher
from api.dependencies import Parts
from api.features import ReleaseInForce, StorePart
from api.main import create_app
from churn.contract.in_force import DEFAULT_SERVICE
from churn.stack import probes
from tests.kit.api_fakes import NOBODY, USER, MemoryReader, MemoryRegistry
from tests.kit.servers import served
from tests.kit.waiting import until


def test_ready_follows_the_store_and_the_model(
    unready: TestClient, reader: MemoryReader, registry: MemoryRegistry
) -> None:
    assert unready.get("/health/ready").status_code == 503
    until(lambda: "alias champion" in (unready.get("/health").json()["model"]["problem"] or ""))
    registry.promote(0.5)
    until(lambda: unready.get("/health/ready").status_code == 200)
    assert unready.get("/health").json() == {
        "live": True,
        "ready": True,
        "store": {"ready": True, "problem": None, "newest_as_of": "2024-02-29"},
        "model": {
            "ready": True,
            "problem": None,
            "version": "1",
            "feature_service": DEFAULT_SERVICE.versioned_name,
            "as_of": "2024-01-31",
            "ledger_problem": None,
        },
        "months_behind": [],
    }
    # a month that failed is told, and does not end serving
    reader.behind = ["month_close of 2024-03 failed once"]
    behind = unready.get("/health/ready")
    assert (behind.status_code, behind.json()["months_behind"]) == (200, reader.behind)
    reader.down = True
    assert unready.get("/health/ready").status_code == 503
    body = unready.get("/health")
    assert body.status_code == 200
    assert body.json()["ready"] is False
    assert body.json()["store"]["problem"] == "Postgres does not answer"
    reader.down = False
    assert unready.get("/health/ready").status_code == 200


def test_it_says_where_the_ledger_says_otherwise(
    unready: TestClient, reader: MemoryReader, registry: MemoryRegistry
) -> None:
    def problem() -> str | None:
        text: str | None = unready.get("/health").json()["model"]["ledger_problem"]
        return text

    first = registry.promote(0.5)
    until(lambda: unready.get("/health/ready").status_code == 200)
    reader.release = ReleaseInForce("f" * 64, "1", first.onnx_sha256)
    assert problem() is None
    registry.promote(0.6)  # by somebody in MLflow's UI
    until(lambda: unready.get("/health").json()["model"]["version"] == "2")
    assert problem() == (
        "version 2 is served, but the ledger says that release ffffffffffff (version 1) is in force"
    )
    assert unready.get("/health/ready").status_code == 200  # it goes on serving


def test_nothing_published_is_not_ready(client: TestClient, reader: MemoryReader) -> None:
    reader.newest_as_of = None
    answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json()["store"]["problem"] == "no month has been published yet"


def test_it_is_live_while_the_store_is_being_opened(registry: MemoryRegistry) -> None:
    reader, may_open, attempts = MemoryReader(), threading.Event(), []

    async def open_reader() -> MemoryReader:
        attempts.append(1)
        if len(attempts) == 1:
            raise OSError("not there yet")
        while not may_open.is_set():
            await asyncio.sleep(0.01)
        return reader

    store = StorePart(open_reader, retry_seconds=0.01)
    app = create_app(lambda: Parts(store, ChampionWatcher(registry, 0.01)))
    with TestClient(app, "http://localhost") as client:
        until(lambda: len(attempts) == 2)
        assert client.get("/health/live").json() == {"live": True}
        health = client.get("/health").json()
        assert health["store"]["problem"] == "it cannot be opened (OSError)"
        assert client.get("/features/a").status_code == 503
        may_open.set()
        until(lambda: client.get("/health").json()["store"]["ready"])
    assert reader.closed
    assert registry.closed
    assert store._opening is not None
    assert store._opening.done()
    assert threading.active_count() == 1 or not [
        t for t in threading.enumerate() if t.name == "watch-champion"
    ]


@pytest.mark.parametrize(
    "path",
    ["/health", "/health/ready", f"/features/{USER}", f"/features/{NOBODY}", "/openapi.json"],
)
def test_head_is_answered_where_get_is(client: TestClient, path: str) -> None:
    got, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (got.status_code, b"")
    assert head.headers["content-type"] == got.headers["content-type"]
    assert client.head("/predict").status_code == client.get("/predict").status_code == 405
    counted = client.get("/metrics").text
    assert 'method="HEAD"' in counted


def test_a_real_server_answers_head_and_keeps_the_connection(
    reader: MemoryReader, registry: MemoryRegistry
) -> None:
    async def open_reader() -> MemoryReader:
        return reader

    parts = Parts(StorePart(open_reader), ChampionWatcher(registry))
    with served(create_app(lambda: parts)) as url, httpx.Client(base_url=url) as client:
        got = client.get("/openapi.json")
        for _ in range(2):  # an answer that ends wrongly takes the connection with it
            head = client.head("/openapi.json")
            assert (head.status_code, head.content) == (200, b"")
            assert head.headers["content-length"] == got.headers["content-length"]
            assert "connection" not in head.headers


def test_churn_status_tells_what_the_api_says_of_the_ledger(
    reader: MemoryReader, registry: MemoryRegistry
) -> None:
    async def open_reader() -> MemoryReader:
        return reader

    reader.release = ReleaseInForce("f" * 64, "1", "0" * 64)
    parts = Parts(StorePart(open_reader), ChampionWatcher(registry))
    with served(create_app(lambda: parts)) as url:
        until(
            lambda: probes.ledger_problem(f"{url}/health").startswith("no version is served, but")
        )
    assert probes.ledger_problem(f"{url}/health") == ""  # gone: another probe says so
