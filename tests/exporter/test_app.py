"""The exporter over HTTP: who may ask, how often Postgres is read, and what is said when it is not there."""

import asyncio
import threading
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from churn.exporter.app import Cache, create_app
from churn.settings import get_settings
from churn.stack.processes import free_port

BASE = "http://127.0.0.1"


class Reader:
    """Counts how often it is read; each time it says which time this is."""

    def __init__(self) -> None:
        self.readings = 0

    def __call__(self) -> bytes:
        self.readings += 1
        return f"reading {self.readings}\n".encode()


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setenv("METRICS_HOST_NAMES", "metrics,watch.example")
    get_settings.cache_clear()
    with TestClient(create_app(Cache(Reader())), base_url=BASE) as client:
        yield client
    get_settings.cache_clear()


def test_prometheus_is_answered_in_its_own_format(client: TestClient) -> None:
    answer = client.get("/metrics")
    assert (answer.status_code, answer.text) == (200, "reading 1\n")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert client.get("/healthy").text == "healthy"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "metrics:9108"}, 200),
        ({"host": "watch.example"}, 200),
        ({"host": "evil.example"}, 421),
        ({"origin": "http://evil.example"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
    ],
)
def test_it_stands_behind_the_guard_of_the_other_ports(
    client: TestClient, headers: dict[str, str], status: int
) -> None:
    assert client.get("/metrics", headers=headers).status_code == status


def test_it_takes_no_orders(client: TestClient) -> None:
    for method in ("POST", "PUT", "DELETE"):
        answer = client.request(method, "/metrics", headers={"content-type": "application/json"})
        assert answer.status_code == 405


def test_postgres_is_read_once_for_all_who_ask_while_it_is_fresh() -> None:
    reader, now = Reader(), 100.0
    cache = Cache(reader, fresh_seconds=10, clock=lambda: now)

    async def ask(times: int) -> set[bytes]:
        return set(await asyncio.gather(*(cache.get() for _ in range(times))))

    async def story() -> None:
        nonlocal now
        assert await ask(20) == {b"reading 1\n"}
        now += 9.9
        assert await ask(2) == {b"reading 1\n"}
        now += 0.2
        assert await ask(20) == {b"reading 2\n"}

    asyncio.run(story())
    assert reader.readings == 2


def test_a_reading_that_takes_long_does_not_keep_the_server_from_answering() -> None:
    begun, may_end = threading.Event(), threading.Event()

    def slow() -> bytes:
        begun.set()
        assert may_end.wait(60)
        return b"late\n"

    with TestClient(create_app(Cache(slow)), base_url=BASE) as client:
        answers: list[str] = []
        asking = threading.Thread(target=lambda: answers.append(client.get("/metrics").text))
        asking.start()
        assert begun.wait(60)
        assert client.get("/healthy").text == "healthy"
        may_end.set()
        asking.join(60)
    assert answers == ["late\n"]


def test_no_postgres_is_no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_HOST", "127.0.0.1")
    monkeypatch.setenv("POSTGRES_PORT", str(free_port()))
    get_settings.cache_clear()
    with TestClient(create_app(), base_url=BASE) as client:
        answer = client.get("/metrics")
    get_settings.cache_clear()
    samples = [line for line in answer.text.splitlines() if not line.startswith("#")]
    assert (answer.status_code, samples) == (200, ["churn_pipeline_up 0.0"])
