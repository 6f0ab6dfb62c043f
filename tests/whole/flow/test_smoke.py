"""The smoke check of the running API, made to fail in every way that it looks for."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import dagster as dg
import pytest

from churn.records import record_check
from churn.settings import get_settings
from churn.verification.smoke import delivered_rows
from churn_assets.online import SAMPLE, features_api_answers
from tests.kit.states import MARCH
from tests.whole.flow.conftest import World

Answer = tuple[int, dict[str, Any]]


class Liar:
    """An API that answers as the offline store would; a test makes it lie."""

    def __init__(self) -> None:
        self.rows = delivered_rows(MARCH, SAMPLE)
        self.health = 200
        self.opening = 0  # how often /health still says that the store is not open
        self.unknown: Answer = (404, {"error": {}})
        self.as_of = MARCH.as_of.isoformat()

    def answer(self, path: str) -> Answer:
        if path == "/health":
            self.opening -= 1
            return self.health, {"store": {"ready": self.opening < 0, "problem": "being opened"}}
        user = path.rpartition("/")[2]
        if user not in self.rows:
            return self.unknown
        return 200, {"user_id": user, "as_of": self.as_of, "features": self.rows[user]}


@pytest.fixture
def liar(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Liar]:
    api = Liar()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = api.answer(self.path)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *args: Any) -> None:
            """Stay quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("CHURN_API_URL", f"http://127.0.0.1:{server.server_port}")
        get_settings.cache_clear()
        yield api
        server.shutdown()


def check() -> dg.AssetCheckResult:
    result = features_api_answers()
    assert isinstance(result, dg.AssetCheckResult)
    return result


def first_row(api: Liar) -> dict[str, Any]:
    return next(iter(api.rows.values()))


def test_an_api_that_tells_the_truth_passes(liar: Liar) -> None:
    result = check()
    assert result.passed, result.description
    assert result.metadata["users_compared"].value == SAMPLE
    assert result.metadata["values_compared"].value == SAMPLE * len(first_row(liar))


def test_an_api_that_has_just_started_is_waited_for(liar: Liar) -> None:
    liar.opening = 2
    assert check().passed


def test_a_store_that_never_opens_fails(liar: Liar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("churn.verification.smoke.OPENING_SECONDS", 0)
    liar.opening = 10**6
    result = check()
    assert not result.passed
    assert "the feature store is not ready: being opened" in (result.description or "")


def lie_a_fee(api: Liar) -> None:
    first_row(api)["monthly_fee"] += 0.01


def lie_a_null(api: Liar) -> None:
    for row in api.rows.values():
        row["plan_stream_tv"] = True if row["plan_stream_tv"] is None else row["plan_stream_tv"]


def leave_out(api: Liar) -> None:
    del first_row(api)["net_service"]


def last_month(api: Liar) -> None:
    api.as_of = "2024-02-29T23:59:59.999999+00:00"


def forget_a_user(api: Liar) -> None:
    del api.rows[next(iter(api.rows))]


def know_everybody(api: Liar) -> None:
    api.unknown = (200, {"features": {}})


def be_unwell(api: Liar) -> None:
    api.health = 500


@pytest.mark.parametrize(
    ("lie", "message"),
    [
        (lie_a_fee, "monthly_fee is"),
        (lie_a_null, "plan_stream_tv is True online, None delivered"),
        (leave_out, "net_service is missing online"),
        (last_month, "not 2024-03-31"),
        (forget_a_user, "answered 404"),
        (know_everybody, "answered 200, not 404"),
        (be_unwell, "GET /health answered 500"),
    ],
)
def test_a_lie_is_found_and_named(liar: Liar, lie: Callable[[Liar], None], message: str) -> None:
    lie(liar)
    result = check()
    assert not result.passed
    assert result.severity == dg.AssetCheckSeverity.ERROR
    assert message in (result.description or "")
    assert message in str(result.metadata["problems"].value)


def test_an_api_that_is_down_fails_and_says_how_to_start_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHURN_API_URL", "http://127.0.0.1:9")
    get_settings.cache_clear()
    result = check()
    assert not result.passed
    assert "the API at http://127.0.0.1:9 does not answer" in (result.description or "")
    assert "start it with `churn up`" in (result.description or "")


@pytest.fixture(autouse=True)
def passed_again(world: World) -> Iterator[None]:
    """The newest record says what the last look at the API has found; leave it as it was."""
    yield
    get_settings.cache_clear()
    record_check("online_features", None, "features_api_answers", passed=True)
