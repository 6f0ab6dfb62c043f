"""Dagster's webserver takes orders from its own pages and from programs, and from nobody else."""

from collections.abc import Iterator

import pytest
from dagster import DagsterInstance
from dagster._core.workspace.context import WorkspaceProcessContext
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from churn.settings import get_settings
from churn.stack.dagster_webserver import MAX_BODY_BYTES, GuardedWebserver

ORDER = 'mutation {setConcurrencyLimit(concurrencyKey: "%s", limit: 1)}'
EVIL, OWN = {"Origin": "http://evil.example"}, {"Origin": "http://localhost:3000"}


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DagsterInstance]:
    with DagsterInstance.local_temp(str(tmp_path_factory.mktemp("dagster"))) as instance:
        yield instance


@pytest.fixture(scope="module")
def webserver(instance: DagsterInstance) -> Iterator[TestClient]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOST_NAMES", "dagster.example, other.example")
        get_settings.cache_clear()
        with (
            WorkspaceProcessContext(instance, None) as context,
            TestClient(GuardedWebserver(context).create_asgi_app(), OWN["Origin"]) as client,
        ):
            yield client
    get_settings.cache_clear()


def obeys(instance: DagsterInstance, name: str) -> bool:
    return name in instance.event_log_storage.get_concurrency_keys()


@pytest.mark.parametrize(
    ("name", "headers"),
    [
        ("program", {}),
        ("own-page", OWN),
        ("other-port-says-the-browser", {**OWN, "Sec-Fetch-Site": "same-origin"}),
        ("proxy", {"Host": "dagster.example", "Origin": "https://dagster.example"}),
        ("proxy-that-renames", {"Host": "127.0.0.1:3000", "Origin": "https://other.example"}),
        ("ipv6", {"Host": "[::1]:3000"}),
    ],
)
def test_an_order_of_ours_is_obeyed(
    webserver: TestClient, instance: DagsterInstance, name: str, headers: dict[str, str]
) -> None:
    answer = webserver.post("/graphql", json={"query": ORDER % name}, headers=headers)
    assert answer.status_code == 200, answer.text
    assert obeys(instance, name)


@pytest.mark.parametrize(
    ("name", "headers", "status"),
    [
        ("other-page", EVIL, 403),
        ("page-without-a-name", {"Origin": "null"}, 403),
        ("page-of-another-port", {"Origin": "http://localhost:8888"}, 403),
        ("says-the-browser", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("same-site", {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}, 403),
        ("other-name", {"Host": "evil.example"}, 421),
        ("no-name", {"Host": ""}, 421),
        ("two-ports", {"Host": "localhost:3000@evil.example"}, 421),
        ("form", {"Content-Type": "text/plain"}, 415),
        ("form-of-old", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ("graphql", {"Content-Type": "application/graphql"}, 415),
    ],
)
def test_any_other_order_is_refused(
    webserver: TestClient,
    instance: DagsterInstance,
    name: str,
    headers: dict[str, str],
    status: int,
) -> None:
    answer = webserver.post("/graphql", json={"query": ORDER % name}, headers=headers)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"code", "message", "detail"}
    assert not obeys(instance, name)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT"])
@pytest.mark.parametrize("accept", ["*/*", "image/avif,image/*", "text/html"])
def test_an_address_is_no_order(
    webserver: TestClient, instance: DagsterInstance, method: str, accept: str
) -> None:
    """A picture's address, a link, a form without fields."""
    told = {"Accept": accept}
    answer = webserver.request(method, "/graphql", params={"query": ORDER % "got"}, headers=told)
    # A person who follows a link sees the page to ask from, with nothing run.
    assert answer.status_code in ({200} if (method, accept) == ("GET", "text/html") else {405, 415})
    assert not obeys(instance, "got")


def test_a_link_from_elsewhere_opens_a_page_and_nothing_embeds_one(webserver: TestClient) -> None:
    followed = {
        "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document",
    }  # fmt: skip
    assert webserver.get("/server_info", headers=followed).status_code == 200
    for destination in ("iframe", "image", "script"):
        embedded = {**followed, "Sec-Fetch-Dest": destination}
        assert webserver.get("/server_info", headers=embedded).status_code == 403


@pytest.mark.parametrize(
    ("path", "body"),
    [("/report_asset_materialization/a", "{}"), ("/graphql", '{"query": "{version}"}')],
)
def test_a_preflight_of_another_page_is_refused(
    webserver: TestClient, path: str, body: str
) -> None:
    assert webserver.options(path, headers=EVIL).status_code == 403
    told = {**EVIL, "Content-Type": "application/json"}
    assert webserver.post(path, content=body, headers=told).status_code == 403


@pytest.mark.parametrize("headers", [EVIL, {"Origin": "null"}, {"Host": "evil.example"}])
def test_a_websocket_of_another_page_is_refused(
    webserver: TestClient, headers: dict[str, str]
) -> None:
    with (
        pytest.raises(WebSocketDisconnect) as refused,
        webserver.websocket_connect("ws://localhost:3000/graphql", ["graphql-ws"], headers=headers),
    ):
        pass
    assert refused.value.code == 1008


@pytest.mark.parametrize("headers", [{}, OWN])
def test_a_websocket_of_ours_is_served(webserver: TestClient, headers: dict[str, str]) -> None:
    address = "ws://localhost:3000/graphql"
    with webserver.websocket_connect(address, ["graphql-ws"], headers=headers) as socket:
        socket.send_json({"type": "connection_init"})
        assert socket.receive_json() == {"type": "connection_ack"}


def test_a_body_without_end_is_refused(webserver: TestClient) -> None:
    told = {"Content-Type": "application/json"}
    pieces = (b" " * MAX_BODY_BYTES for _ in range(3))  # their length is not told
    for body in (b" " * (MAX_BODY_BYTES + 1), pieces):
        assert webserver.post("/graphql", content=body, headers=told).status_code == 413
