"""One embedded stack for all end-to-end tests, filled once by `churn run`."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.kit.commands import environment
from tests.kit.running_system import System

USERS, MONTHS = 600, 3


@dataclass(frozen=True)
class Filled:
    """What `churn run` said of the first months."""

    output: str
    models: list[dict[str, Any]]


@dataclass(frozen=True)
class Up:
    """The stack, and what its first `churn up` said."""

    system: System
    first: subprocess.CompletedProcess[str]


@pytest.fixture(scope="session")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    home = tmp_path_factory.mktemp("e2e") / "home"
    months = {"CHURN_FIRST_MONTH": "2024-01", "CHURN_LAST_MONTH": "2024-06"}
    system = System(environment(home, CHURN_LOOK_SECONDS="10", **months))
    yield Up(system, system.churn("up"))
    system.churn("down")


@pytest.fixture(scope="session")
def system(up: Up) -> System:
    assert up.first.returncode == 0, up.first.stderr
    return up.system


@pytest.fixture(scope="session")
def drops(system: System, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One month more than `filled` puts through: the population goes on."""
    folder = tmp_path_factory.mktemp("drops")
    for months, name in ((MONTHS, "first"), (MONTHS + 1, "later")):
        generated = system.churn(
            "generate", f"--users={USERS}", f"--months={months}", f"--out={folder / name}"
        )
        assert generated.returncode == 0, generated.stderr
    return folder


@pytest.fixture(scope="session")
def filled(system: System, drops: Path) -> Filled:
    figures = drops / "figures.json"
    run = system.churn("run", f"--drops={drops / 'first'}", f"--json={figures}")
    assert run.returncode == 0, run.stdout + run.stderr
    return Filled(run.stdout, json.loads(figures.read_text()))
