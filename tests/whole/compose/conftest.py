"""One stack of all services, started once; every test of this folder looks at the same processes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from churn.months import Month
from churn.population.drops import write_drops
from tests.kit.compose_files import resolved, unpacked_wheel
from tests.kit.compose_stack import Stack


@pytest.fixture(scope="session")
def config() -> dict[str, Any]:
    return resolved()


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("compose")
    write_drops(folder / "drops", first=Month.parse("2024-01"), users=200, months=1, seed=1)
    config = resolved(DROPS_FOLDER=str(folder / "drops"), CHURN_LOOK_SECONDS="10")
    del config["services"]["door"]  # it is tried in tests/console/routes/test_door_nginx.py
    started = Stack(config, folder, wheel)
    started.before = started.health()
    try:
        started.up()
        yield started
    finally:
        started.kill()
