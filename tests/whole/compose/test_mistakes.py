"""What is wrong in the file fails here: one mistake at a time, beside the running stack."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.kit.compose_stack import Container, Stack

Spec = dict[str, Any]


def in_command(old: str, new: str) -> Callable[[Spec], None]:
    def spoil(spec: Spec) -> None:
        assert any(old in word for word in spec["command"])
        spec["command"] = [word.replace(old, new) for word in spec["command"]]

    return spoil


def variable(name: str, value: str | None) -> Callable[[Spec], None]:
    def spoil(spec: Spec) -> None:
        assert spec["environment"].pop(name)
        if value is not None:
            spec["environment"][name] = value

    return spoil


def wrong_network(spec: Spec) -> None:
    spec["networks"] = {"services": None}


MISTAKES: dict[str, tuple[str, Callable[[Spec], None]]] = {
    "init: another command": ("init", in_command("init", "initialize")),
    "init: another port of Postgres": ("init", variable("POSTGRES_PORT", "5433")),
    "init: not on the network of Postgres": ("init", wrong_network),
    "mlflow: an option that is none": ("mlflow", in_command("--workers", "--worker")),
    "code: another module": ("code", in_command("churn_assets", "churn_asset")),
    "webserver: no code server": ("webserver", variable("DAGSTER_CODE_HOST", None)),
    "daemon: another workspace": ("daemon", in_command("workspace", "workplace")),
    "api: another application": ("api", in_command("api.main:app", "api.main:application")),
    "console: another application": ("console", in_command("console.main:app", "console.main:ap")),
}


@pytest.fixture(scope="module")
def endings(stack: Stack) -> Iterator[dict[str, Container]]:
    """Start every spoilt service, all at the same time."""
    started = {}
    for mistake, (name, spoil) in MISTAKES.items():
        spec = copy.deepcopy(stack[name].spec)
        spoil(spec)
        started[mistake] = Container(stack.world, name, spec)
        started[mistake].start()
    yield started
    for container in started.values():
        container.kill()


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_ends_the_service(endings: dict[str, Container], mistake: str) -> None:
    process = endings[mistake].process
    assert process is not None
    assert process.wait(timeout=600) != 0


@pytest.mark.parametrize(
    ("service", "old", "new"),
    [
        ("postgres", "5432", "5433"),
        ("mlflow", "5000", "5001"),
        ("mlflow", "/health", "/healthy"),
        ("code", "4000", "4001"),
        ("webserver", "3000", "8080"),
        ("webserver", "server_info", "health"),
        ("daemon", "liveness-check", "liveness"),
        ("api", "8000", "80"),
        ("api", "/health/live", "/live"),
        ("console", "8080", "80"),
        ("console", "/health/live", "/live"),
    ],
)
def test_wrong_health_check_is_unhealthy(stack: Stack, service: str, old: str, new: str) -> None:
    spec = copy.deepcopy(stack[service].spec)
    right = spec["healthcheck"]["test"]
    spec["healthcheck"]["test"] = [word.replace(old, new) for word in right]
    assert spec["healthcheck"]["test"] != right
    spoilt = type(stack[service])(stack.world, service, spec)
    assert not spoilt.healthy()
