"""The door as a server has it: nginx with door/nginx.conf, before a guarded port, asking a real console."""

import itertools
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect as connect_websocket

from churn.http_guard import Guard
from churn.settings import get_settings
from churn.stack.processes import free_port
from console.roles import Role
from tests.console.conftest import Someone, cookie_of
from tests.kit.compose_files import ROOT
from tests.kit.servers import served
from tests.kit.waiting import until

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed here")
# More than nginx lets through by itself.
LARGEST = 8 * 1024 * 1024
JSON = {"Content-Type": "application/json"}
PAGE = {"Accept": "text/html,application/xhtml+xml"}


async def _echo(request: Request) -> JSONResponse:
    body = await request.body()
    told = {"headers": dict(request.headers), "path": request.url.path, "query": request.url.query}
    return JSONResponse(told | {"method": request.method, "bytes": len(body)})


async def _echo_websocket(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(await websocket.receive_text())
    await websocket.close()


@pytest.fixture(scope="module")
def behind() -> Iterator[str]:
    """A port that says what came to it, behind the guard that Dagster's has."""
    guard = Middleware(Guard, names=lambda: (), setting="NAMES", max_body_bytes=LARGEST)
    methods = ["GET", "POST"]
    routes = [
        WebSocketRoute("/graphql", _echo_websocket),
        Route("/{rest:path}", _echo, methods=methods),
    ]
    with served(Starlette(routes=routes, middleware=[guard])) as url:
        yield url


def config(text: str, folder: Path, places: dict[str, str]) -> str:
    """Return the file of the container with the addresses and folders of this machine."""
    for there, here in places.items():
        assert there in text, there
        text = text.replace(there, here)
    return text.replace("/tmp/", f"{folder}/")  # noqa: S108


class DoorAddresses(NamedTuple):
    dagster: str
    mlflow: str


@pytest.fixture
def addresses(console: str, behind: str, tmp_path: Path) -> Iterator[DoorAddresses]:
    dagster, mlflow, health = free_port(), free_port(), free_port()
    address = behind.removeprefix("http://")
    places = {
        "listen 3000;": f"listen 127.0.0.1:{dagster};",
        "listen 5000;": f"listen 127.0.0.1:{mlflow};",
        "listen 127.0.0.1:8081": f"listen 127.0.0.1:{health}",
        "3000 webserver:3000": f"{dagster} {address}",
        "5000 mlflow:5000": f"{mlflow} {address}",
        "console:8080": console.removeprefix("http://"),
        "Host console;": "Host localhost;",
    }
    file = tmp_path / "nginx.conf"
    file.write_text(
        config((ROOT / "door" / "nginx.conf").read_text(encoding="utf-8"), tmp_path, places)
    )
    assert NGINX is not None
    command = [NGINX, "-e", "stderr", "-p", str(tmp_path), "-c", str(file), "-g", "daemon off;"]
    with (tmp_path / "nginx.log").open("wb") as log:
        process = subprocess.Popen(command, stderr=log)
    try:
        until(lambda: process.poll() is not None or _answers(health))
        assert process.poll() is None, (tmp_path / "nginx.log").read_text()
        yield DoorAddresses(f"http://127.0.0.1:{dagster}", f"http://127.0.0.1:{mlflow}")
    finally:
        process.terminate()
        process.wait(60)


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/", timeout=10).text == "open\n"
    except httpx.TransportError:
        return False


@pytest.fixture
def door(addresses: DoorAddresses) -> str:
    return addresses.dagster


@pytest.fixture
def ann(door: str, sign_in: Callable[..., Someone]) -> Iterator[httpx.Client]:
    """An approver's browser at the door; it sends the cookie to every port of the host."""
    with at_the_door(door, sign_in(Role.APPROVER)) as client:
        yield client


def at_the_door(door: str, someone: Someone) -> httpx.Client:
    name = cookie_of(someone.client)
    cookies = {name: someone.client.cookies[name]}
    return httpx.Client(base_url=door, cookies=cookies, timeout=60)


def test_nobody_gets_through_without_a_session(addresses: DoorAddresses) -> None:
    for address, cookies in itertools.product(addresses, ({}, {"churn_console": "made up"})):
        with httpx.Client(base_url=address, cookies=cookies, timeout=60) as stranger:
            assert stranger.get("/runs").status_code == 401
            assert stranger.post("/graphql", json={"query": "mutation"}).status_code == 401
            page = stranger.get("/runs", headers=PAGE)
            assert page.status_code == 302
            assert page.headers["location"].endswith("/sign-in")
    with pytest.raises(InvalidStatus, match="401"):
        connect_websocket(f"{addresses.dagster.replace('http', 'ws')}/graphql")


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_the_sign_in_page_has_the_name_under_which_somebody_came(door: str, name: str) -> None:
    came = {"Host": f"{name}:{httpx.URL(door).port}", "X-Door-Host": "evil.example"}
    page = httpx.get(f"{door}/runs", headers=PAGE | came, timeout=60)
    assert page.headers["location"] == f"http://{name}:{get_settings().console_port}/sign-in"


def test_what_asks_for_the_console_cannot_be_asked_from_outside(
    door: str, ann: httpx.Client
) -> None:
    assert httpx.get(f"{door}/_door", timeout=60).status_code == 404
    assert ann.get("/_door").status_code == 404


@pytest.mark.parametrize("role", [Role.VIEWER, Role.CALLER])
def test_other_roles_do_not_get_through(
    door: str, sign_in: Callable[..., Someone], role: Role
) -> None:
    with at_the_door(door, sign_in(role)) as client:
        assert client.get("/runs", headers=PAGE).status_code == 403
        assert client.post("/graphql", json={}).status_code == 403


def test_an_approver_gets_through_and_the_session_stays_outside(
    door: str, ann: httpx.Client
) -> None:
    told = ann.post("/graphql?op=run", json={"query": "x" * 500_000}).json()
    assert (told["method"], told["path"], told["query"]) == ("POST", "/graphql", "op=run")
    assert told["bytes"] > 500_000
    assert told["headers"]["host"] == door.removeprefix("http://")
    assert "cookie" not in told["headers"]
    assert ann.get("/runs/a%2Fb", headers=PAGE).json()["path"] == "/runs/a/b"


def test_the_websocket_gets_through_with_a_session(ann: httpx.Client, door: str) -> None:
    cookie = {"Cookie": "; ".join(f"{name}={value}" for name, value in ann.cookies.items())}
    address = f"{door.replace('http', 'ws')}/graphql"
    with connect_websocket(address, additional_headers=cookie, origin=door) as socket:  # type: ignore[arg-type]
        socket.send("hello")
        assert socket.recv(60) == "hello"
    with pytest.raises(InvalidStatus, match="403"):
        connect_websocket(address, additional_headers=cookie, origin="http://evil.example")  # type: ignore[arg-type]


def test_a_models_file_of_any_size_gets_through(
    addresses: DoorAddresses, sign_in: Callable[..., Someone]
) -> None:
    with at_the_door(addresses.mlflow, sign_in(Role.APPROVER)) as client:
        told = client.post("/artifacts", content=b"x" * LARGEST, headers=JSON).json()
    assert told["bytes"] == LARGEST


def test_other_names_and_other_pages_are_still_refused_behind_it(ann: httpx.Client) -> None:
    """A page of another port of this host has the cookie, too: the guard behind the door keeps it out."""
    for headers, status in (
        ({"Host": "evil.example"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:8888"}, 403),
    ):
        assert ann.post("/graphql", json={}, headers=headers).status_code == status


def test_who_signs_out_stays_outside(
    door: str, sign_in: Callable[..., Someone], ann: httpx.Client
) -> None:
    ben = sign_in(Role.ADMINISTRATOR, "ben")
    with at_the_door(door, ben) as client:
        assert client.get("/runs").status_code == 200
        ben.post("/sign-out")
        assert client.get("/runs").status_code == 401
    assert ann.get("/runs").status_code == 200
