"""The processes of a stack, found by the mark that they inherit, and stopped in good order."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from churn.settings import PRIVATE
from churn.stack.part import Part

MARK, PART = "CHURN_STACK_ID", "CHURN_PART"
GRACE_SECONDS, SWEEP_SECONDS = 15.0, 5.0


def spawn(part: Part, home: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start `part` detached: no terminal, a session of its own, the stack's mark in its environment."""
    mark = {MARK: str(home), PART: part.name}
    with part.log.open("ab") as log:
        return subprocess.Popen(
            part.command(),
            env={**os.environ, **environment, **part.environment, **mark},
            cwd=part.log.parent,  # holds nothing that Python could import
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=PRIVATE,
        )


def living(home: Path) -> dict[str, list[psutil.Process]]:
    """Return the processes of the stack in `home` by part, grandchildren and orphans included."""
    found: dict[str, dict[int, psutil.Process]] = {}
    for process in psutil.process_iter():
        # Gone meanwhile, a zombie, or somebody else's.
        with contextlib.suppress(psutil.Error):
            environment = process.environ()
            if environment.get(MARK) == str(home):
                family = found.setdefault(environment.get(PART, ""), {})
                for member in (process, *process.children(recursive=True)):
                    family[member.pid] = member
    return {part: list(family.values()) for part, family in found.items()}


def stop(
    home: Path, names: tuple[str, ...], number: signal.Signals, grace: float = GRACE_SECONDS
) -> None:
    """Stop the named parts of the stack in `home`: ask, wait, then kill; return when none is left."""
    processes = _of(home, names)
    for process in _heads(processes) if number == signal.SIGINT else processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
    _wait(processes, grace)
    deadline = time.monotonic() + SWEEP_SECONDS
    while (rest := _of(home, names)) and time.monotonic() < deadline:
        for process in rest:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        _wait(rest, 1)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Let no further Ctrl-C cut a stop short: each stage has its deadline anyway."""
    try:
        before = {
            number: signal.signal(number, signal.SIG_IGN)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        }
    except ValueError:  # not the main thread, which alone is interrupted
        before = {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _of(home: Path, names: tuple[str, ...]) -> list[psutil.Process]:
    return [p for part, family in living(home).items() if part in names for p in family]


def _heads(processes: list[psutil.Process]) -> list[psutil.Process]:
    pids = {process.pid for process in processes}
    with contextlib.suppress(psutil.NoSuchProcess):
        return [process for process in processes if process.ppid() not in pids]
    return processes


def _alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _wait(processes: list[psutil.Process], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while any(map(_alive, processes)) and time.monotonic() < deadline:
        time.sleep(0.05)
