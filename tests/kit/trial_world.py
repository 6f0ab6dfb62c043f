"""A world of its own per trial, run by real commands, and what of it must be the same in the end.

What is planted in a trial, and what is promised of it, stands in the test modules.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from dotenv import dotenv_values

from churn.settings import get_settings
from churn.stack.supervisor import running_stack
from tests.kit.commands import environment
from tests.kit.planted_failures import content

HANG_SECONDS = 1_800  # ends a hang on a slow machine; nothing is judged by it


@dataclass
class World:
    """A state folder, the environment that says so, and the drops that are put through it.

    Attributes:
        told: the environment.
        drops: the folder of the drops.
        logged: the most events that were ever seen in its log.
        commands: those that were started and not waited for.
    """

    told: Mapping[str, str]
    drops: Path
    logged: int = 0
    commands: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return Path(self.told["CHURN_HOME"])

    @classmethod
    def copy_of(cls, prepared: Path, folder: Path, **more: str) -> "World":
        """Return a world on a copy of a prepared one; owners are kept, since Postgres has its own."""
        shutil.copytree(prepared, folder, symlinks=True)
        for at, _, names in os.walk(prepared):
            for name in (".", *names):
                path = Path(at, name)
                status = path.lstat()
                os.lchown(folder / path.relative_to(prepared), status.st_uid, status.st_gid)
        return cls(environment(folder / "home", **more), folder / "drops")

    def run(self) -> subprocess.Popen[str]:
        """Start to put the drops through the graph."""
        return self.start("run", f"--drops={self.drops}")

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a churn command in a process group of its own, as a terminal does."""
        command = subprocess.Popen(
            [sys.executable, "-P", "-m", "churn.cli.main", *arguments],
            env=dict(self.told), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip
        self.commands.append(command)
        return command

    def churn(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a churn command to its end."""
        return subprocess.run(
            [sys.executable, "-P", "-m", "churn.cli.main", *arguments],
            env=dict(self.told), capture_output=True, text=True, check=False, timeout=HANG_SECONDS,
        )  # fmt: skip

    def run_until_it_ends_well(self, most: int = 1) -> int:
        """Put the drops through until that ends with 0, as a person would; return how often it took."""
        for times in range(1, most + 1):
            done = self.churn("run", f"--drops={self.drops}")
            if done.returncode == 0:
                return times
            assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
        pytest.fail(f"{most} times in vain: {done.stdout}{done.stderr}")

    def watch(self, command: subprocess.Popen[str], look: Callable[[], object]) -> tuple[int, str]:
        """Look again and again until a command ends; return its exit status and what it printed."""
        deadline = time.monotonic() + HANG_SECONDS
        while command.poll() is None:
            assert time.monotonic() < deadline, "the command hangs"
            look()
            time.sleep(0.1)
        output, _ = command.communicate()
        self.commands.remove(command)
        return command.returncode, output

    def end_commands(self) -> None:
        """Kill the commands that a trial which failed has left at work."""
        while self.commands:
            with self.commands.pop() as command:
                command.kill()

    def strike(
        self,
        command: subprocess.Popen[str],
        moment: int,
        fault: Callable[[], object],
        *,
        part: str = "",
    ) -> tuple[bool, int, str]:
        """Do something once to a running command as soon as so many events are logged.

        Returns whether the command was still at work then, its exit status and what it printed.

        Args:
            command: the command.
            moment: the number of events; those of earlier commands count, too.
            fault: what is done.
            part: the part of the stack that it is done to, which must have been started by then.
        """
        due = [fault]

        def look() -> None:
            # Counted until the end, since the next moment is drawn from what is left of the log then.
            logged = self.events()
            if due and logged >= moment and (not part or part in self.started()):
                due.pop()()

        status, output = self.watch(command, look)
        return not due, status, output

    def kill_all(self) -> None:
        """Kill every process that works for this world, as when a machine goes down."""
        while left := self.processes():
            for process in left:
                with suppress(psutil.NoSuchProcess):
                    process.kill()

    def part(self, name: str) -> psutil.Process:
        """Return the process of a part of the stack, as the state folder's record has it."""
        return psutil.Process(self.pid_of(name))

    def workers(self) -> list[psutil.Process]:
        """Return what the code server has started: each executes one run."""
        workers = []
        for process in self.processes():
            # It may have ended by now.
            with suppress(psutil.Error):
                if "--multiprocessing-fork" in process.cmdline():
                    workers.append(process)
        return workers

    def drop_into_the_folder(self) -> None:
        """Put every drop into the watched folder, each renamed into place."""
        watched = self.home / "drops"
        watched.mkdir(exist_ok=True)
        for drop in sorted(self.drops.glob("month_*")):
            half = self.home / f"half-{drop.name}"
            shutil.copytree(drop, half)
            half.rename(watched / drop.name)

    def started(self) -> dict[str, int]:
        """Return the process of each part that was started, as the state folder's record has them."""
        with suppress(FileNotFoundError):
            record = json.loads((self.home / "stack.json").read_text())
            return {name: int(part["pid"]) for name, part in record["parts"].items()}
        return {}

    def pid_of(self, part: str) -> int:
        """Return the process of a part of the stack, as the state folder's record has it."""
        return self.started()[part]

    def events(self) -> int:
        """Return how many events are in Dagster's log; 0 where nobody answers."""
        login = dotenv_values(self.home / "stack.env")
        if "POSTGRES_PORT" not in login:
            return 0
        try:
            with psycopg.connect(
                host=login["POSTGRES_HOST"], port=login["POSTGRES_PORT"], dbname="dagster",
                user=login["POSTGRES_USER"], password=login["POSTGRES_PASSWORD"],
            ) as connection:  # fmt: skip
                row = connection.execute("SELECT count(*) FROM event_logs").fetchone()
        except psycopg.Error:
            return 0
        assert row is not None
        self.logged = max(self.logged, int(row[0]))
        return int(row[0])

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Make this world the one that settings speak of, in this process."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.told.items():
                patch.setenv(name, value)
            get_settings.cache_clear()
            yield
        get_settings.cache_clear()

    def outcome(self) -> dict[str, Any]:
        """Return what must not depend on what went wrong: decisions, publications, scores, files."""
        with self.entered(), running_stack(("postgres",)):
            seen = content()
        seen["training"] = {str(month): known_by for month, known_by in seen["training"].items()}
        lake = sorted((self.home / "lake").rglob("*.parquet"))
        seen["lake"] = {
            str(path.relative_to(self.home)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in lake
        }
        return dict(json.loads(json.dumps(seen, default=str)))

    def processes(self) -> list[psutil.Process]:
        """Return the processes that work for this world."""
        family = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("CHURN_HOME") == str(self.home):
                    family.append(process)
        return family

    def leftovers(self) -> list[str]:
        """Name the processes that still work for this world."""
        commands = []
        for process in self.processes():
            with suppress(psutil.Error):
                commands.append(f"{process.pid} {' '.join(process.cmdline())}")
        return commands


def differences(world: World, expected: Mapping[str, Any]) -> str:
    """Return where a world has come to something else than another one; nothing if it has not."""
    seen = world.outcome()
    differing = [name for name in {**expected, **seen} if seen.get(name) != expected.get(name)]
    shown = {name: (seen.get(name), expected.get(name)) for name in differing}
    return f"{differing}: {str(shown)[:4_000]}" if differing else ""


def assert_same(world: World, expected: Mapping[str, Any]) -> None:
    """Compare what a world has come to with what another one had come to."""
    differing = differences(world, expected)
    assert not differing, differing
