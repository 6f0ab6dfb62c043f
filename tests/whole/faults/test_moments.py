"""When a trial strikes, with a sleeping process as the command."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit import trial_world
from tests.kit.trial_world import World

_SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
_LOOKS = 3


class LoggingWorld(World):
    """A world with more events than any moment, whose only part is started after some looks at them."""

    looks = 0

    def events(self) -> int:
        """Count the looks; some of them after the part was started, end the command."""
        self.looks += 1
        if self.looks == _LOOKS:
            parts = {"api": {"pid": self.commands[0].pid}}
            (self.home / "stack.json").write_text(json.dumps({"parts": parts}))
        elif self.looks == 2 * _LOOKS:
            self.commands[0].kill()
        return 470


def test_a_part_is_struck_once_it_was_started_and_events_are_counted_until_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_world, "HANG_SECONDS", 300)
    world = LoggingWorld({"CHURN_HOME": str(tmp_path)}, tmp_path)
    struck: list[int] = []
    command = subprocess.Popen(_SLEEP, stdout=subprocess.PIPE, text=True)
    world.commands.append(command)
    try:
        was_at_work, status, _ = world.strike(
            command, 376, lambda: struck.append(world.pid_of("api")), part="api"
        )
    finally:
        world.end_commands()
    assert (was_at_work, struck, status) == (True, [command.pid], -signal.SIGKILL)
    assert world.looks == 2 * _LOOKS


def test_a_command_that_a_failed_trial_left_at_work_is_ended(tmp_path: Path) -> None:
    world = World({"CHURN_HOME": str(tmp_path)}, tmp_path)
    command = subprocess.Popen(_SLEEP, stdout=subprocess.PIPE, text=True)
    world.commands.append(command)
    world.end_commands()
    assert command.returncode == -signal.SIGKILL
