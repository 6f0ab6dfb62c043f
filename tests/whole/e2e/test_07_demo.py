"""The commands that bring their own stack: `churn demo`, `churn run` where none is up."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.commands import environment
from tests.kit.running_system import System
from tests.kit.waiting import PATIENCE

DEMO = ("demo", "--months=2", "--users=600")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A state folder in which nothing is up."""
    system = System(environment(tmp_path_factory.mktemp("alone") / "home"))
    yield system
    system.churn("down")


@pytest.fixture(scope="module")
def demo(alone: System) -> subprocess.CompletedProcess[str]:
    """Two months, played to the end."""
    return alone.churn(*DEMO, "--exit")


def _is_gone(system: System) -> bool:
    return not system.leftovers() and not system.listening()


def test_ctrl_c_while_the_demo_works_leaves_nothing_behind(alone: System) -> None:
    with alone.start(*DEMO) as command:
        try:
            assert command.stdout is not None
            lines = []
            for line in command.stdout:
                lines.append(line)
                if line.startswith("deliver: 2 of 2"):  # the graph is at work from here on
                    break
            assert command.poll() is None, "".join(lines)
            assert alone.listening() == set(alone.ports)
            os.killpg(command.pid, signal.SIGINT)
            rest, _ = command.communicate(timeout=PATIENCE)
        finally:
            command.kill()
    assert command.returncode == 130, "".join(lines) + rest
    assert "Traceback" not in rest
    assert _is_gone(alone), alone.leftovers()


def test_the_demo_shows_table_answers_and_addresses(
    alone: System, demo: subprocess.CompletedProcess[str]
) -> None:
    done = demo
    assert done.returncode == 0, done.stdout + done.stderr
    for month in ("2024-01 ", "2024-02 "):
        assert month in done.stdout
    assert re.search(r"2024-01 .*churn_baseline .* 600 ", done.stdout)
    assert re.search(r"champion: version \d+, \w+ on churn_\w+, trained on 2024-01", done.stdout)
    assert "waits for labels (2024-03-31)" in done.stdout
    assert "passed" in done.stdout
    assert not re.search(r"\d failed", done.stdout)
    assert '"monthly_fee": 29.85' in done.stdout
    assert '"probability"' in done.stdout
    for port in alone.ports:
        assert f"http://127.0.0.1:{port}" in done.stdout
    # A later `churn up` on this state shows no months that the demo never meant to play.
    assert "CHURN_LAST_MONTH='2024-02'" in (alone.home / "settings.env").read_text()
    assert _is_gone(alone), alone.leftovers()


def test_a_run_without_a_stack_starts_what_it_needs_and_stops_it(
    alone: System, demo: subprocess.CompletedProcess[str], tmp_path: Path
) -> None:
    """The demo shows months at work on a stack of their own; here nothing is left to do."""
    assert demo.returncode == 0, demo.stdout + demo.stderr
    figures = tmp_path / "figures.json"
    done = alone.churn("run", "--to=2024-01", f"--json={figures}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "postgres ready" in done.stderr
    assert "api ready" in done.stderr
    assert "webserver" not in done.stderr
    assert "api stopped" in done.stderr
    assert [each["month"] for each in json.loads(figures.read_text())] == ["2024-01"] * 2
    assert _is_gone(alone), alone.leftovers()
