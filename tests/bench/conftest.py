"""One world of the bench for all its tests: a Postgres, and an MLflow and an API once a test needs them."""

import os
from collections.abc import Iterator

import psutil
import pytest

from bench.world import World

_OURS = ("CHURN_", "POSTGRES_", "MLFLOW_TRACKING", "DAGSTER_")


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    before, running = _ours(), _servers()
    with World(tmp_path_factory.mktemp("bench")) as opened:
        yield opened
    assert _ours() == before
    assert _servers() <= running


def _servers() -> set[int]:
    children = psutil.Process().children(recursive=True)
    return {process.pid for process in children if process.name() == "postgres"}


def _ours() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(_OURS)}
