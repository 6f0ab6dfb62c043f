"""Which parts a command has lost, with a process that sleeps as a part."""

import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from churn.stack.processes import Part, spawn
from churn.stack.record import PartRecord, StackRecord, locked, lost
from tests.kit.waiting import until

_SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[psutil.Process]:
    """A part that a command has started for itself."""
    process = spawn(Part("mlflow", lambda: _SLEEP), tmp_path, {})
    part = PartRecord(pid=process.pid, started=0, temporary=True)
    StackRecord(parts={"mlflow": part}).write(tmp_path, {})
    yield psutil.Process(process.pid)
    process.kill()
    process.wait()


def test_a_part_that_dies_under_its_command_is_lost(
    tmp_path: Path, sleeper: psutil.Process
) -> None:
    with locked(tmp_path):
        assert lost(tmp_path) == []
        sleeper.kill()
        # Nobody asks for its status here, nor does a command at work: what is left of it is a zombie.
        until(lambda: sleeper.status() == psutil.STATUS_ZOMBIE)
        assert lost(tmp_path) == ["mlflow"]
    # What a killed command has left is restarted by the next one.
    assert lost(tmp_path) == []


def test_a_part_of_a_stack_that_is_up_is_not_lost(tmp_path: Path, sleeper: psutil.Process) -> None:
    part = PartRecord(pid=sleeper.pid, started=0, temporary=False)
    StackRecord(parts={"mlflow": part}).write(tmp_path, {})
    with locked(tmp_path):
        sleeper.kill()
        until(lambda: sleeper.status() == psutil.STATUS_ZOMBIE)
        assert lost(tmp_path) == []
