"""`churn down`: nothing listens, nothing lives, and the data stay; up again makes nothing ready twice."""

from pathlib import Path

from bench.startup import churn_up
from tests.kit.running_system import System
from tests.whole.e2e.conftest import Filled


def test_down_leaves_no_port_and_no_process(system: System, filled: Filled) -> None:
    assert system.listening() == set(system.ports)
    assert system.leftovers()
    down = system.churn("down")
    assert down.returncode == 0, down.stderr
    assert "stopped postgres, mlflow, api, console, code, webserver, daemon" in down.stderr
    assert system.listening() == set()
    assert system.leftovers() == []
    assert not (system.home / "stack.env").exists()
    assert system.churn("status").returncode == 1
    assert (system.home / "lake").is_dir()
    assert "nothing was running" in system.churn("down").stderr


def test_up_again_makes_ready_nothing_that_is(
    system: System, filled: Filled, tmp_path: Path
) -> None:
    """Started and stopped as the bench does it, which takes the time of this very thing."""
    assert churn_up(system.told, tmp_path) > 0
    log = (tmp_path / "log").read_text()
    assert "mlflow ready" in log
    assert "init" not in log
    assert system.leftovers() == []
