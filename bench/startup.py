"""Starting: the whole stack compared with an empty Dagster project, and imports, each in its own process."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import httpx

from bench.rows import Goal, Row, Spread, at_most
from bench.worker import Say, take_turns
from bench.world import Sizes, World
from churn.errors import ChurnError
from churn.stack.processes import LOOPBACK, free_port

DEV = "dagster dev, empty project"
MOST_TIMES = 1.5
HEAVY = ("mlflow", "feast", "sklearn", "pandas", "matplotlib", "scipy")
EMPTY = "import dagster as dg\n\ndefs = dg.Definitions()\n"
# Variables of another stack, which must not reach this one.
OUTSIDE = ("CHURN_", "POSTGRES_", "MLFLOW_", "DAGSTER_", "PG")
# A name, what is imported, the module that it is compared with, and whether there is a goal.
IMPORTS = (
    ("import of the graph", "churn_assets.definitions", "dagster", True),
    ("import of the API", "api.main", "fastapi", False),
    ("import of the churn command", "churn.cli.main", "typer", False),
)
_PYTHON = (sys.executable, "-P")
_PATIENCE_SECONDS = 600


def measure(world: World, sizes: Sizes, say: Say) -> list[Row]:
    folder = world.folder("startup")
    folder.mkdir(parents=True)
    return [
        _up(folder, sizes, say),
        *(_import(*each, folder, sizes, say) for each in IMPORTS),
        _help(folder, sizes, say),
    ]


def _up(folder: Path, sizes: Sizes, say: Say) -> Row:
    ports = ("CONSOLE_PORT", "DAGSTER_PORT", "MLFLOW_PORT", "API_PORT")
    environment = _clean() | {
        "CHURN_HOME": str(folder / "churn"),
        **{name: str(free_port()) for name in ports},
    }
    (folder / "emptydefs.py").write_text(EMPTY)
    (folder / "dagster").mkdir()
    # The warm-up also makes the databases.
    seconds = take_turns(
        {"churn": partial(churn_up, environment, folder), DEV: partial(dagster_dev, folder)},
        sizes,
        say,
    )
    ours, peer = Spread.of(seconds["churn"]), Spread.of(seconds[DEV])
    return Row(
        "churn up, from stopped to ready",
        "Postgres, MLflow, API, Dagster's code server, webserver and daemon",
        ours,
        "s",
        beside={DEV: peer},
        goals=[at_most("ratio", ours.median / peer.median, MOST_TIMES)],
        note="databases made before; ready: every part has answered its health probe; dagster dev: its"
        " webserver answers /server_info",
    )


def churn_up(environment: Mapping[str, str], folder: Path) -> float:
    """Start the stack, and return the seconds that it took; stopping it again is not counted."""
    churn = [*_PYTHON, "-m", "churn.cli.main"]
    try:
        return _seconds([*churn, "up"], environment, folder)
    finally:
        _seconds([*churn, "down"], environment, folder)


def dagster_dev(folder: Path) -> float:
    """Return the seconds until the webserver of `dagster dev` answers on an empty project; stop it again."""
    port = free_port()
    command = [
        sys.executable, "-m", "dagster", "dev", "-m", "emptydefs", "-h", LOOPBACK, "-p", str(port)
    ]  # fmt: skip
    environment = _clean() | {"DAGSTER_HOME": str(folder / "dagster")}
    begun = time.perf_counter()
    with _running(command, environment, folder):
        while time.perf_counter() - begun < _PATIENCE_SECONDS:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"http://{LOOPBACK}:{port}/server_info", trust_env=False).is_success:
                    return time.perf_counter() - begun
            time.sleep(0.05)
    raise ChurnError("dagster dev does not answer", where=str(folder / "log"))


def _import(
    name: str, module: str, peer: str, has_goal: bool, folder: Path, sizes: Sizes, say: Say
) -> Row:
    ways = {each: partial(_python, f"import {each}", folder) for each in (module, peer)}
    seconds = take_turns(ways, sizes, say)
    ours, beside = Spread.of(seconds[module]), Spread.of(seconds[peer])
    heavy = imported(module) & set(HEAVY)
    goals = [Goal(f"imports none of {', '.join(HEAVY)}", not heavy)]
    if has_goal:
        goals.insert(0, at_most("ratio", ours.median / beside.median, MOST_TIMES))
    return Row(
        name,
        f"a process that imports {module} and ends",
        ours,
        "s",
        beside={f"one that imports {peer}": beside},
        goals=goals,
        note="the interpreter's own start included on both sides",
    )


def imported(module: str) -> set[str]:
    """Return the names of all modules that importing a module loads."""
    script = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run(
        [*_PYTHON, "-c", script], capture_output=True, text=True, check=True, env=_clean()
    )
    return set(done.stdout.split())


def _help(folder: Path, sizes: Sizes, say: Say) -> Row:
    ways: dict[str, Callable[[], float]] = {
        program: partial(_seconds, [*_PYTHON, "-m", program, "--help"], _clean(), folder)
        for program in ("churn.cli.main", "dagster")
    }
    seconds = take_turns(ways, sizes, say)
    return Row(
        "churn --help",
        "a process",
        Spread.of(seconds["churn.cli.main"]),
        "s",
        beside={"dagster --help": Spread.of(seconds["dagster"])},
    )


def _python(script: str, folder: Path) -> float:
    return _seconds([*_PYTHON, "-c", script], _clean(), folder)


def _seconds(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> float:
    begun = time.perf_counter()
    with (folder / "log").open("ab") as log:
        done = subprocess.run(
            command, env=environment, cwd=folder, stdout=log, stderr=log, check=False
        )
    if done.returncode:
        tail = (folder / "log").read_text(errors="replace")[-2000:]
        raise ChurnError(f"{' '.join(command)} ended with {done.returncode}:\n{tail}")
    return time.perf_counter() - begun


@contextlib.contextmanager
def _running(
    command: Sequence[str], environment: Mapping[str, str], folder: Path
) -> Iterator[None]:
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            command, env=environment, cwd=folder, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(OUTSIDE)}
