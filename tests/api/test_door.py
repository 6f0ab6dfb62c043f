"""The door of the API: real requests, by keys of a real Postgres."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client import generate_latest
from starlette.concurrency import run_in_threadpool
from starlette.types import Message, Receive, Send
from starlette.types import Scope as ASGIScope

from api.champion import ChampionWatcher
from api.dependencies import Parts
from api.door import NEEDED, OPEN, WITHOUT_DETAILS, Door, RateLimit, is_open, needed_of
from api.features import FeatureRows, StorePart
from api.keys import KeyRing
from api.main import create_app
from churn.api_keys import Scope, add_key, remove_key
from churn.contract.structure import Service
from churn.database import connect
from churn.settings import Settings, get_settings
from tests.kit.api_errors import assert_shape
from tests.kit.api_fakes import USER, MemoryReader, MemoryRegistry
from tests.kit.waiting import until

ASKED: dict[Scope, Callable[[TestClient, dict[str, str]], Any]] = {
    Scope.FEATURES: lambda client, by: client.get(f"/features/{USER}", headers=by),
    Scope.PREDICT: lambda client, by: client.post("/predict", json={"user_id": USER}, headers=by),
    Scope.METRICS: lambda client, by: client.get("/metrics", headers=by),
}


def bearer(*scopes: Scope, name: str = "crm") -> dict[str, str]:
    with connect() as connection:
        return {"Authorization": f"Bearer {add_key(connection, name, scopes)}"}


def parts(reader: MemoryReader, registry: MemoryRegistry, keys: KeyRing | None) -> Parts:
    async def open_reader() -> MemoryReader:
        return reader

    return Parts(StorePart(open_reader), ChampionWatcher(registry, interval=0.01), keys)


@pytest.fixture
def guarded(
    settings: Settings, reader: MemoryReader, registry: MemoryRegistry
) -> Iterator[TestClient]:
    """The application as under compose, where keys are asked for."""
    registry.promote(0.75)
    app = create_app(lambda: parts(reader, registry, KeyRing(interval=0.01)))
    with TestClient(app, "http://localhost", raise_server_exceptions=False) as client:
        until(lambda: client.get("/health/ready").status_code == 200)
        yield client


@pytest.mark.parametrize("scope", ASKED)
def test_a_route_asks_for_a_key_of_its_scope(guarded: TestClient, scope: Scope) -> None:
    ask = ASKED[scope]
    until(lambda: ask(guarded, {}).status_code != 503)  # the list of keys is read
    refused = ask(guarded, {})
    assert_shape(refused, 401, "unauthorized")
    assert refused.headers["www-authenticate"] == "Bearer"
    assert_shape(ask(guarded, {"Authorization": "Bearer churn_guessed"}), 401, "unauthorized")
    right, others = bearer(scope), bearer(*(set(ASKED) - {scope}), name="others")
    until(lambda: ask(guarded, right).status_code == 200)
    until(lambda: ask(guarded, others).status_code == 403)
    assert_shape(ask(guarded, others), 403, "not_in_scope")
    with connect() as connection:
        remove_key(connection, "crm")
    until(lambda: ask(guarded, right).status_code == 401)


def test_the_health_is_told_without_a_key_and_why_with_one(
    guarded: TestClient, reader: MemoryReader
) -> None:
    by = bearer(Scope.FEATURES)
    until(lambda: guarded.get("/features/x", headers=by).status_code == 404)
    assert guarded.get("/health/live").json() == {"live": True}
    for path in WITHOUT_DETAILS:
        told = guarded.get(path).json()
        assert told["ready"] is True
        details = (told["store"]["newest_as_of"], told["model"]["version"], told["months_behind"])
        assert details == (None, None, [])
        assert guarded.get(path, headers=by).json()["model"]["version"] == "1"
    reader.down = True
    assert guarded.get("/health/ready").status_code == 503
    assert guarded.get("/health").json()["store"] == {
        "ready": False,
        "problem": None,
        "newest_as_of": None,
    }
    assert "Postgres" in guarded.get("/health", headers=by).json()["store"]["problem"]


@pytest.mark.parametrize("path", ["/nowhere", "//features/x", "/Features/x", "/featuresx", "/"])
def test_a_path_that_is_not_listed_needs_a_key(guarded: TestClient, path: str) -> None:
    until(lambda: guarded.get(path).status_code != 503)
    assert_shape(guarded.get(path), 401, "unauthorized")


def test_how_to_ask_is_told_to_everybody(guarded: TestClient) -> None:
    for path in OPEN:
        assert guarded.get(path).status_code == 200
    assert guarded.get("/docs/swagger-ui.css").status_code == 200


def test_where_no_key_is_asked_for_any_is_let_in(client: TestClient) -> None:
    for by in ({}, {"Authorization": "Bearer churn_whatever"}):
        assert [ask(client, by).status_code for ask in ASKED.values()] == [200] * len(ASKED)
    assert client.get("/health").json()["model"]["version"] == "1"


@pytest.mark.parametrize(("asked", "is_ring"), [("required", True), ("off", False), (None, False)])
def test_the_settings_say_whether_keys_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, asked: str | None, is_ring: bool
) -> None:
    if asked is not None:
        monkeypatch.setenv("CHURN_API_KEYS", asked)
    get_settings.cache_clear()
    assert (Parts.from_settings().keys is not None) is is_ring
    get_settings.cache_clear()


def test_every_route_is_documented_with_what_the_door_asks(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    first_parts = set()
    for path, item in document["paths"].items():
        for operation in item.values():
            statuses = set(operation["responses"])
            assert "504" in statuses
            if is_open(path):
                assert operation["security"] == []
            elif path in WITHOUT_DETAILS:
                assert operation["security"] == [{}, {"key": []}]
                assert "429" in statuses
            else:
                assert operation["security"] == [{"key": [needed_of(path)]}]
                assert {"401", "403", "429"} <= statuses
                first_parts.add(path.split("/")[1])
    assert first_parts == set(NEEDED)


def test_a_caller_may_ask_so_often_and_no_more() -> None:
    limit = RateLimit(60)
    assert [limit.take("ann", 0.0) for _ in range(60)] == [0.0] * 60
    assert limit.take("ann", 0.0) == pytest.approx(1.0)
    assert limit.take("ben", 0.0) == 0.0  # another's bucket is another
    assert limit.take("ann", 0.5) == pytest.approx(0.5)
    assert limit.take("ann", 1.0) == 0.0  # one a second comes back
    assert limit.take("ann", 1.0) > 0
    assert [limit.take("ann", 100.0) for _ in range(60)] == [
        0.0
    ] * 60  # and never more than a minute's
    assert limit.take("ann", 100.0) > 0


def test_callers_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.door._MOST_CALLERS", 3)
    limit = RateLimit(1)
    for caller in "abcd":
        assert limit.take(caller, 0.0) == 0.0
    assert len(limit._full_at) == 3
    assert limit.take("d", 0.0) > 0


def test_too_many_requests_are_refused_per_key(
    settings: Settings,
    reader: MemoryReader,
    registry: MemoryRegistry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CHURN_API_PER_MINUTE", "3")
    get_settings.cache_clear()
    by, other = bearer(Scope.FEATURES), bearer(Scope.FEATURES, name="other")
    keys = KeyRing()
    keys.poll()
    app = create_app(lambda: parts(reader, registry, keys))
    with TestClient(app, "http://localhost") as client:
        answers = [client.get(f"/features/{USER}", headers=by) for _ in range(4)]
        assert [each.status_code for each in answers[:3]] == [200] * 3
        assert_shape(answers[3], 429, "too_many_requests")
        assert 1 <= int(answers[3].headers["retry-after"]) <= 20
        assert client.get(f"/features/{USER}", headers=other).status_code == 200
        # Who has no key is counted by address.
        codes = [client.get(f"/features/{USER}").status_code for _ in range(4)]
        assert codes == [401, 401, 401, 429]
        assert client.get("/health/live").status_code == 200
    get_settings.cache_clear()


class HangingReader(MemoryReader):
    async def read(self, user_ids: Sequence[str], service: Service) -> FeatureRows:
        await asyncio.Event().wait()
        raise AssertionError


def test_an_answer_that_takes_too_long_is_given_up(
    registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Door, "answer_seconds", 0.05)

    async def open_reader() -> MemoryReader:
        return HangingReader()

    app = create_app(lambda: Parts(StorePart(open_reader), ChampionWatcher(registry)))
    with TestClient(app, "http://localhost") as client:
        until(lambda: app.state.parts.store._opened is not None)
        assert_shape(client.get(f"/features/{USER}"), 504, "answer_timeout")
        assert 'status="504"' in metrics_of(app)


def metrics_of(app: FastAPI) -> str:
    return generate_latest(app.state.metrics).decode()


def test_what_computes_in_a_thread_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Door, "answer_seconds", 0.05)
    release = threading.Event()
    sent: list[Message] = []

    async def computing(scope: ASGIScope, receive: Receive, send: Send) -> None:
        await run_in_threadpool(release.wait)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"late"})

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    async def ask() -> None:
        scope = {"type": "http", "path": "/health/live", "headers": []}
        await Door(computing)(scope, receive, send)
        release.set()

    asyncio.run(ask())
    assert [message.get("status") for message in sent] == [504, None]


def test_an_answer_that_has_begun_is_not_spoilt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Door, "answer_seconds", 0.05)
    sent: list[Message] = []

    async def begins(scope: ASGIScope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.Event().wait()

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    scope = {"type": "http", "path": "/health/live", "headers": []}
    with pytest.raises(TimeoutError):
        asyncio.run(Door(begins)(scope, receive, send))
    assert [message["status"] for message in sent] == [200]
