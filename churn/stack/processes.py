"""The processes of a stack: what a part is, which of its processes live, how they stop, who holds a port.

Processes are recognised by a mark in the environment that they inherit, so leftovers of a crash are, too.
"""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import psutil

from churn.errors import ChurnError
from churn.settings import PRIVATE

LOOPBACK = "127.0.0.1"
# Returns what is wrong, or an empty text if nothing is.
Probe = Callable[[], str]
State = Literal["starting", "ready", "stopped"]
# Called at each step of a part: its name, the state it has reached, and the seconds that took.
Report = Callable[[str, State, float], None]

_MARK, _PART = "CHURN_STACK_ID", "CHURN_PART"
_GRACE_SECONDS, _SWEEP_SECONDS = 15.0, 5.0
# Above the well-known ports, and below those that the kernel gives to outgoing connections: one of these
# could take the port before the server that it is meant for starts.
_SAFE_PORTS = range(10_240, 32_768)


@dataclass(frozen=True)
class Part:
    """One process of the stack, with everything that it starts itself.

    Attributes:
        name: its name for people and in `stack.json`.
        command: returns the command line, and is called when the part is about to start.
        probe: returns what is wrong with the part; None for a step that runs once and ends.
        is_done: returns whether a step need not run at all, and is called before it would start.
        environment: its own variables, in addition to those of the stack.
        after: the parts that must be healthy before it starts.
        port: its port on the loopback.
        variable: the environment variable that sets the port.
        url: the address that a person opens in a browser.
        patience: seconds after which it must be healthy.
    """

    name: str
    command: Callable[[], list[str]]
    probe: Probe | None = None
    is_done: Callable[[], bool] = lambda: False
    environment: Mapping[str, str] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    port: int | None = None
    variable: str = ""
    url: str = ""
    patience: float = 300


def silent(_name: str, _state: State, _seconds: float) -> None:
    """Report to nobody."""


def log_of(home: Path, name: str) -> Path:
    """Return the file that holds the output of a part."""
    return home / "logs" / f"{name}.log"


def spawn(part: Part, home: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start `part` detached: without a terminal, in its own session, with the stack's mark on it."""
    log = log_of(home, part.name)
    log.parent.mkdir(parents=True, exist_ok=True)
    mark = {_MARK: str(home), _PART: part.name}
    with log.open("ab") as output:
        return subprocess.Popen(
            part.command(),
            env={**os.environ, **environment, **part.environment, **mark},
            # This folder holds nothing that Python could import.
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=PRIVATE,
        )


def living(home: Path) -> dict[str, list[psutil.Process]]:
    """Return the processes of the stack in `home` by part, grandchildren and orphans included."""
    families: dict[str, dict[psutil.Process, None]] = {}
    for process in psutil.process_iter():
        # It may be gone by now, a zombie, or somebody else's.
        with contextlib.suppress(psutil.Error):
            environment = process.environ()
            if environment.get(_MARK) == str(home):
                family = families.setdefault(environment.get(_PART, ""), {})
                # Postgres's own processes overwrite their environment.
                family |= dict.fromkeys((process, *process.children(recursive=True)))
    return {part: list(family) for part, family in families.items()}


def stop(
    home: Path, names: Iterable[str], number: signal.Signals, grace: float = _GRACE_SECONDS
) -> None:
    """Stop the named parts of the stack in `home`: signal, wait, then kill; return once none is left."""
    processes = _of(home, names)
    pids = {process.pid for process in processes}
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            # SIGINT is for Postgres, whose first process ends the others.
            if number != signal.SIGINT or process.ppid() not in pids:
                process.send_signal(number)
    _wait(processes, grace)
    deadline = time.monotonic() + _SWEEP_SECONDS
    while (rest := _of(home, names)) and time.monotonic() < deadline:
        for process in rest:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        _wait(rest, 1)


def _of(home: Path, names: Iterable[str]) -> list[psutil.Process]:
    families = living(home)
    return [process for name in names for process in families.get(name, ())]


def _wait(processes: list[psutil.Process], seconds: float) -> None:
    """Wait until none is alive. `psutil.wait_procs` would wait for zombies whose parent lives, too."""
    deadline = time.monotonic() + seconds
    while any(map(_alive, processes)) and time.monotonic() < deadline:
        time.sleep(0.05)


def _alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def free_port() -> int:
    """Return a TCP port of the loopback that nobody listens on now."""
    while not _is_free(port := secrets.choice(_SAFE_PORTS)):
        pass
    return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def check_ports(parts: Iterable[Part]) -> None:
    """Raise a ChurnError if ports are taken, which names them, their variables and their holders."""
    taken = [(part, part.port) for part in parts if part.port and not _is_free(part.port)]
    if taken:
        moved = " ".join(f"{part.variable}={free_port()}" for part, _ in taken)
        raise ChurnError(
            "\n".join(
                f"port {port} of {part.name} ({part.variable}) is taken{_holder(port)}"
                for part, port in taken
            ),
            remedy=f"stop what holds it, or choose another port: {moved} churn up",
        )


def _holder(port: int) -> str:
    """Return who listens on `port` as the end of a sentence, empty if this user may not know."""
    with contextlib.suppress(psutil.Error):
        for held in psutil.net_connections("tcp"):
            listens = held.status == psutil.CONN_LISTEN and held.pid
            if listens and held.laddr and held.laddr.port == port:
                process = psutil.Process(held.pid)
                text = f" by process {process.pid} ({' '.join(process.cmdline())[:120]})"
                folder = process.environ().get(_MARK)
                return f"{text}, part of the stack in {folder}" if folder else text
    return ""
