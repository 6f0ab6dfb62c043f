"""What the API refuses before any of its routes hears of it: real requests over real connections."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api.main import create_app
from api.schemas import BATCH_LIMIT, MAX_BODY_BYTES
from churn.http_guard import MAX_HEADER_BYTES, MAX_UNFINISHED_HEADER_BYTES, BoundedProtocol
from churn.settings import get_settings
from churn.stack.processes import free_port
from tests.kit.api_errors import assert_shape
from tests.kit.api_fakes import USER
from tests.kit.waiting import until

JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Host": "evil.example"}, 421, "unknown_host"),
        ({"Host": "localhost.evil.example"}, 421, "unknown_host"),
        ({"Host": "["}, 421, "unknown_host"),
        ({"Origin": "http://evil.example"}, 403, "other_origin"),
        ({"Origin": "null"}, 403, "other_origin"),
        ({"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
        ({"X-Long": "x" * MAX_HEADER_BYTES}, 431, "headers_too_large"),
    ],
)
def test_a_request_that_is_not_for_us(
    client: TestClient, headers: dict[str, str], status: int, code: str
) -> None:
    body = {"user_id": USER}
    assert_shape(client.post("/predict", json=body, headers=headers), status, code)
    counted = f'api_requests_total{{method="POST",route="unmatched",status="{status}"}}'
    assert counted in client.get("/metrics").text


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "127.0.0.1:8000"},
        {"Host": "LOCALHOST"},
        {"Host": "[::1]:8000"},
        {"Origin": "http://localhost"},
        {"Content-Type": "application/json; charset=utf-8"},
    ],
)
def test_a_request_that_is(client: TestClient, headers: dict[str, str]) -> None:
    assert client.post("/predict", json={"user_id": USER}, headers=headers).status_code == 200


def test_more_names_are_told_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_HOST_NAMES", "api, churn.example")
    monkeypatch.setenv("CHURN_API_URL", "http://elsewhere.example:8000")
    get_settings.cache_clear()
    client = TestClient(create_app(), "http://localhost")
    for name in ("api:8000", "churn.example", "elsewhere.example:80"):
        assert client.get("/health/live", headers={"Host": name}).status_code == 200
    assert client.get("/health/live", headers={"Host": "other.example"}).status_code == 421
    get_settings.cache_clear()


def test_a_body_over_the_limit_is_not_read(client: TestClient) -> None:
    whole = client.post("/predict", content=b" " * (MAX_BODY_BYTES + 1), headers=JSON)
    assert_shape(whole, 413, "body_too_large")
    pieces = (b" " * MAX_BODY_BYTES for _ in range(3))  # its length is not told
    assert_shape(client.post("/predict", content=pieces, headers=JSON), 413, "body_too_large")


def test_the_longest_batch_is_not_over_the_limit(client: TestClient) -> None:
    body = json.dumps({"user_ids": ["\U0001f600" * 255] * BATCH_LIMIT})  # twelve characters each
    answer = client.post("/predict/batch", content=body, headers=JSON)
    assert answer.status_code == 200
    assert {item["status"] for item in answer.json()["results"]} == {404}


@pytest.mark.parametrize("path", ["/predict", "/predict/batch", "/explain"])
def test_very_many_unknown_keys_are_a_few_errors(client: TestClient, path: str) -> None:
    body = {f"key{number}": number for number in range(100_000)}
    answer = client.post(path, json=body)
    assert_shape(answer, 422, "invalid_request")
    kinds = [problem["type"] for problem in answer.json()["error"]["detail"]]
    assert set(kinds) == {"missing", "extra_forbidden"}
    assert len(kinds) < 20
    many = client.post("/predict/batch", json={"user_ids": [["x"]] * 100_000})
    assert len(many.content) < 10_000
    long = client.post(path, json={"k" * 100_000: 1})
    assert len(long.content) < 1_000


class Impatient(BoundedProtocol):
    request_seconds = 0.3


@contextmanager
def served(app: FastAPI, protocol: type[BoundedProtocol]) -> Iterator[tuple[uvicorn.Server, int]]:
    port = free_port()
    config = uvicorn.Config(
        app, port=port, http=protocol, log_level="warning", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
        # The server has started the application's parts anew; they load their model in a thread.
        until(
            lambda: (
                httpx.get(f"http://127.0.0.1:{port}/health/ready", timeout=60).status_code == 200
            )
        )
        yield server, port
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


def sent(port: int, text: bytes) -> bytes:
    """Send half a request, and return all that comes until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(text)
        answer = b""
        while piece := connection.recv(65_536):
            answer += piece
    return answer


HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    "half",
    [
        b"P",
        HEAD,
        HEAD + b"Content-Length: 20\r\n\r\n",
        HEAD + b'Content-Length: 20\r\n\r\n{"user_id"',
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
    ],
)
def test_half_a_request_is_answered_and_closed(client: TestClient, half: bytes) -> None:
    with served(client.app, Impatient) as (_, port):  # type: ignore[arg-type]
        answer = sent(port, half)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert json.loads(body)["error"]["code"] == "request_timeout"


def test_a_connection_without_a_request_is_closed(client: TestClient) -> None:
    with served(client.app, Impatient) as (_, port):  # type: ignore[arg-type]
        assert sent(port, b"") == b""


def test_a_body_that_trickles_after_the_answer_is_cut_off(client: TestClient) -> None:
    with served(client.app, Impatient) as (_, port):  # type: ignore[arg-type]
        answer = sent(port, HEAD.replace(b"/predict", b"/nowhere") + b"Content-Length: 20\r\n\r\n{")
    assert answer.startswith(b"HTTP/1.1 404 ")


def test_headers_without_end_are_refused(client: TestClient) -> None:
    with served(client.app, BoundedProtocol) as (_, port):  # type: ignore[arg-type]
        answer = sent(port, HEAD + b"X-Long: " + b"x" * (MAX_UNFINISHED_HEADER_BYTES + 1))
    assert answer.startswith(b"HTTP/1.1 431 ")


def test_half_a_request_does_not_keep_a_server_from_stopping(client: TestClient) -> None:
    """Its patience would be 20 s; the server stops after the one second that it was told."""
    with (
        served(client.app, BoundedProtocol) as (server, port),  # type: ignore[arg-type]
        socket.create_connection(("127.0.0.1", port)) as connection,
    ):
        connection.sendall(HEAD + b"Content-Length: 20\r\n\r\n{")
        while not server.server_state.tasks:
            pass
        server.should_exit = True
        assert connection.recv(1) in (b"", b"H")


def test_whole_requests_on_one_connection_are_answered(client: TestClient) -> None:
    body = json.dumps({"user_id": USER}).encode()
    asked = HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    last = HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with served(client.app, BoundedProtocol) as (_, port):  # type: ignore[arg-type]
        assert sent(port, asked * 3 + last).count(b"HTTP/1.1 200 ") == 4
