"""Behind an office's proxy: nothing on the loopback goes through it, everything else does as before."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import httpx
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from typer.testing import CliRunner

from churn.cli.main import app
from churn.mlflow_client import mlflow_client
from churn.settings import Settings, get_settings, loopback_without_proxy
from churn.stack import probes
from churn.stack.parts import make_plan
from churn.stack.processes import free_port
from churn.stack.record import StackRecord

OURS = "localhost,127.0.0.1,::1"
EXCEPTIONS = ("NO_PROXY", "no_proxy", "no_grpc_proxy")


@pytest.fixture
def dead_proxy(monkeypatch: pytest.MonkeyPatch) -> str:
    """A proxy that answers nobody, for every kind of call."""
    url = f"http://127.0.0.1:{free_port()}"
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, url)
        monkeypatch.setenv(name.upper(), url)
    for name in EXCEPTIONS:
        monkeypatch.delenv(name, raising=False)
    return url


@pytest.fixture
def code_server() -> Iterator[int]:
    """The health service of a code server, which is all that the probe asks for."""
    server = grpc.server(ThreadPoolExecutor(1))
    servicer = health.HealthServicer()
    servicer.set("DagsterApi", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None).wait()


@pytest.mark.parametrize(
    ("given", "of_http", "of_grpc"),
    [
        ({}, OURS, OURS),
        ({"no_proxy": "a.example"}, f"a.example,{OURS}", f"a.example,{OURS}"),
        ({"NO_PROXY": "b.example, 127.0.0.1"}, "b.example,127.0.0.1,localhost,::1", None),
        ({"NO_PROXY": "*"}, "*", OURS),
        ({"no_grpc_proxy": "c.example"}, OURS, f"c.example,{OURS}"),
    ],
)
def test_the_stack_excepts_the_loopback_and_keeps_what_was_excepted(
    settings: Settings,
    dead_proxy: str,
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, str],
    of_http: str,
    of_grpc: str | None,
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    told = make_plan(StackRecord()).environment
    assert told["NO_PROXY"] == told["no_proxy"] == of_http
    assert told["no_grpc_proxy"] == (of_grpc or of_http)
    assert not {"http_proxy", "HTTP_PROXY"} & told.keys()  # theirs stay as they are


@pytest.mark.parametrize("excepted", [None, "*"])
def test_mlflow_http_and_grpc_on_the_loopback_are_reached(
    mlflow_settings: Settings,
    dead_proxy: str,
    code_server: int,
    monkeypatch: pytest.MonkeyPatch,
    excepted: str | None,
) -> None:
    if excepted:
        monkeypatch.setenv("NO_PROXY", excepted)
    for name, value in loopback_without_proxy().items():
        monkeypatch.setenv(name, value)
    assert probes.code_server(code_server) == ""
    assert httpx.get(f"{mlflow_settings.mlflow_tracking_uri}/health").text == "OK"
    client = mlflow_client()
    assert client.get_experiment_by_name("nobody's") is None


def test_another_host_keeps_its_proxy(dead_proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in loopback_without_proxy().items():
        monkeypatch.setenv(name, value)
    with pytest.raises(
        httpx.ConnectError, match="refused"
    ):  # by the proxy, before any name is looked up
        httpx.get("http://elsewhere.example")


def test_a_command_excepts_the_loopback_itself(
    mlflow_settings: Settings, dead_proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in EXCEPTIONS:  # what the command sets is undone with the test
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("CHURN_API_URL", mlflow_settings.mlflow_tracking_uri)
    get_settings.cache_clear()
    asked = CliRunner().invoke(app, ["predict", "a"])
    assert "does not answer" not in asked.output
    assert httpx.get(f"{mlflow_settings.mlflow_tracking_uri}/health").text == "OK"
