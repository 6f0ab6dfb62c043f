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
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import psutil

from churn.errors import ChurnError
from churn.settings import PRIVATE

# Returns what is wrong, or an empty text if nothing is.
Probe = Callable[[], str]


@dataclass(frozen=True)
class Part:
    """One process of the stack, with everything that it starts itself.

    Attributes:
        name: its name for people and in `stack.json`.
        command: returns the command line, and is called when the part is about to start.
        probe: returns what is wrong with the part; None for a step that runs once and ends.
        is_done: returns whether a step need not run at all, and is called before it would start.
        log: the file of its output.
        environment: its own variables, in addition to those of the stack.
        after: the parts that must be healthy before it starts.
        port: its port on the loopback.
        variable: the environment variable that sets the port.
        url: the address that a person opens in a browser.
        patience: seconds after which it must be healthy.
    """

    name: str
    command: Callable[[], list[str]]
    log: Path
    probe: Probe | None = None
    is_done: Callable[[], bool] = lambda: False
    environment: Mapping[str, str] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    port: int | None = None
    variable: str = ""
    url: str = ""
    patience: float = 300


def with_what_they_need(names: tuple[str, ...], parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """Return the named parts and all that they come after, in the order of `parts`.

    Args:
        names: of the parts.
        parts: all parts, in the order in which they start.
    """
    wanted = set(names)
    for part in reversed(parts):
        if part.name in wanted:
            wanted.update(part.after)
    return tuple(part for part in parts if part.name in wanted)


State = Literal["starting", "ready", "stopped"]
# Called at each step of a part: its name, the state it has reached, and the seconds that took.
Report = Callable[[str, State, float], None]


def silent(_name: str, _state: State, _seconds: float) -> None:
    """Report to nobody."""


MARK, PART = "CHURN_STACK_ID", "CHURN_PART"
GRACE_SECONDS, SWEEP_SECONDS = 15.0, 5.0


def spawn(part: Part, home: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start `part` detached: without a terminal, in its own session, with the stack's mark on it."""
    mark = {MARK: str(home), PART: part.name}
    with part.log.open("ab") as log:
        return subprocess.Popen(
            part.command(),
            env={**os.environ, **environment, **part.environment, **mark},
            # This folder holds nothing that Python could import.
            cwd=part.log.parent,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=PRIVATE,
        )


def living(home: Path) -> dict[str, list[psutil.Process]]:
    """Return the processes of the stack in `home` by part, grandchildren and orphans included."""
    families: dict[str, dict[int, psutil.Process]] = {}
    for process in psutil.process_iter():
        # It may be gone by now, a zombie, or somebody else's.
        with contextlib.suppress(psutil.Error):
            environment = process.environ()
            if environment.get(MARK) == str(home):
                family = families.setdefault(environment.get(PART, ""), {})
                for member in (process, *process.children(recursive=True)):
                    family[member.pid] = member
    return {part: list(family.values()) for part, family in families.items()}


def stop(
    home: Path, names: tuple[str, ...], number: signal.Signals, grace: float = GRACE_SECONDS
) -> None:
    """Stop the named parts of the stack in `home`: signal, wait, then kill; return once none is left."""
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
    """Ignore further signals, so that no Ctrl-C cuts a stop short: each stage has a deadline anyway."""
    try:
        before = {
            number: signal.signal(number, signal.SIG_IGN)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        }
    except ValueError:
        # This is not the main thread, which alone is interrupted by signals.
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


LOOPBACK = "127.0.0.1"
# Above the well-known ports, and below those that the kernel gives to outgoing connections: one of these
# could take the port before the server that it is meant for starts.
_SAFE_PORTS = range(10_240, 32_768)


def free_port() -> int:
    """Return a TCP port of the loopback that nobody listens on now."""
    while not is_free(port := secrets.choice(_SAFE_PORTS)):
        pass
    return port


def is_free(port: int) -> bool:
    """Return whether a server could listen on `port` of the loopback now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def check_ports(parts: Iterable[Part]) -> None:
    """Raise a ChurnError if ports are taken, which names them, their variables and their holders."""
    taken = [part for part in parts if part.port is not None and not is_free(part.port)]
    if not taken:
        return
    facts = [
        f"port {part.port} of {part.name} ({part.variable}) is taken{holder(part.port or 0)}"
        for part in taken
    ]
    moved = " ".join(f"{part.variable}={free_port()}" for part in taken)
    raise ChurnError(
        "\n".join(facts), remedy=f"stop what holds it, or choose another port: {moved} churn up"
    )


def holder(port: int) -> str:
    """Return who listens on `port` as the end of a sentence, empty if this user may not know."""
    try:
        pid = next(
            (
                connection.pid
                for connection in psutil.net_connections("tcp")
                if connection.laddr
                and connection.laddr.port == port
                and connection.status == psutil.CONN_LISTEN
                and connection.pid
            ),
            None,
        )
        if pid is None:
            return ""
        process = psutil.Process(pid)
        text = f" by process {pid} ({' '.join(process.cmdline())[:120]})"
        folder = process.environ().get(MARK)
    except psutil.Error:
        return ""
    return f"{text}, part of the stack in {folder}" if folder else text
