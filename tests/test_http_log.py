"""One id for each request, in its answer and in every line of the log; and no user in any line."""

import json
import logging
import logging.config
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException
from fastapi.testclient import TestClient

from churn.http_log import RequestIds, log_config, request_id

USER = "7590-VHVEG"


def application() -> FastAPI:
    app = FastAPI()
    app.add_middleware(RequestIds)
    log = logging.getLogger("api.test")

    @app.get("/features/{user_id}")
    def features(user_id: str) -> dict[str, str]:
        log.warning("on the way")  # in a thread of the pool
        if user_id == "nobody":
            raise HTTPException(404)
        if user_id == "broken":
            raise LookupError("unforeseen\nin two lines")
        return {"id": request_id()}

    return app


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(application(), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def _log_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    names = ("api", "churn", "console", "uvicorn", "churn.requests")
    levels = {name: logging.getLogger(name).level for name in names}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, one in levels.items():
        logging.getLogger(name).setLevel(one)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


@pytest.mark.parametrize("given", ["7", "a-b_c.D9", "x" * 48])
def test_a_well_formed_id_is_kept(client: TestClient, given: str) -> None:
    answer = client.get(f"/features/{USER}", headers={"X-Request-ID": given})
    assert answer.headers["x-request-id"] == answer.json()["id"] == given


@pytest.mark.parametrize("given", [None, "", "x" * 49, "a b", "a\tb", "a'; --", "é".encode()])
def test_anything_else_gets_an_id_of_its_own(client: TestClient, given: Any) -> None:
    headers = {} if given is None else {"X-Request-ID": given}
    ids = [client.get(f"/features/{USER}", headers=headers).json()["id"] for _ in range(2)]
    assert len(set(ids)) == 2
    assert all(len(each) == 32 for each in ids)


@pytest.mark.parametrize(("user", "status"), [(USER, 200), ("nobody", 404), ("broken", 500)])
@pytest.mark.usefixtures("_log_as_before")
def test_json_has_a_line_for_each_request_and_its_id_in_every_line(
    client: TestClient, capsys: pytest.CaptureFixture[str], user: str, status: int
) -> None:
    logging.config.dictConfig(log_config("json"))
    client.get(f"/features/{user}", headers={"X-Request-ID": "r-1"})
    inside, request = lines(capsys)
    assert (inside["message"], inside["level"]) == ("on the way", "warning")
    assert inside["request_id"] == request["request_id"] == "r-1"
    named = {name: request[name] for name in ("logger", "method", "route", "status")}
    assert named == {
        "logger": "churn.requests",
        "method": "GET",
        "route": "/features/{user_id}",
        "status": status,
    }
    assert request["ms"] > 0
    assert user not in json.dumps([inside, request])


@pytest.mark.usefixtures("_log_as_before")
def test_an_error_is_one_line_of_json_and_uvicorn_s_lines_are_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logging.config.dictConfig(log_config("json"))
    try:
        raise LookupError("unforeseen\nin two lines")
    except LookupError:
        logging.getLogger("uvicorn.error").exception("it failed")
    logging.getLogger("uvicorn.error").info("Started server process [%d]", 7)
    logging.getLogger("httpx").info("POST https://example.org/secret")
    failed, started = lines(capsys)
    assert failed["exception"].endswith("LookupError: unforeseen\nin two lines")
    assert started["message"] == "Started server process [7]"
    assert "request_id" not in started


@pytest.mark.usefixtures("_log_as_before")
def test_text_names_the_request_and_has_no_line_for_each(
    client: TestClient, capsys: pytest.CaptureFixture[str]
) -> None:
    logging.config.dictConfig(log_config("text"))
    client.get(f"/features/{USER}", headers={"X-Request-ID": "r-1"})
    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith("Z WARNING: on the way [request r-1]")
