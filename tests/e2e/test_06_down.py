"""`churn down`: nothing listens, nothing lives, and the data stay."""

from tests.e2e.conftest import Filled
from tests.e2e.system import System


def test_down_leaves_no_port_and_no_process(system: System, filled: Filled) -> None:
    assert system.listening() == set(system.ports)
    assert system.leftovers()
    down = system.churn("down")
    assert down.returncode == 0, down.stderr
    assert "stopped postgres, mlflow, api, code, webserver, daemon" in down.stderr
    assert system.listening() == set()
    assert system.leftovers() == []
    assert (system.home / "lake").is_dir()
    assert "nothing was running" in system.churn("down").stderr
