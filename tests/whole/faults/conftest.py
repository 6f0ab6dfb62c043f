"""Worlds for the long part of the catalogue, its record, and its table at the end of the run.

What is dear to make, and what was tried, is kept per commit: `make faults` goes on where an earlier one of
the same commit was stopped, and tries again what did not pass. `make faults ARGS=--cache-clear` begins anew.
"""

import functools
import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from churn.months import Month
from churn.population.drops import write_drops
from churn.stack.supervisor import running_stack
from tests.kit.commands import environment
from tests.kit.fault_catalogue import CATALOGUE, table
from tests.kit.trial_world import World

MONTHS, USERS = 3, 200
# The sensor's first requests come within seconds, so that a trial does not wait for minutes.
TOLD = {"CHURN_LAST_MONTH": "2024-03", "CHURN_RETRY_MINUTES": "0.1,0.1,0.2,0.5,1,2"}
EVENTS = 450  # of an undisturbed run, about
_LEAST_LEFT = 10  # events: what was done twice fills the log, too
_IS_PASSED = pytest.StashKey[bool]()
MakeWorld = Callable[..., World]
Moment = Callable[[World], int]
Undisturbed = Callable[[], dict[str, Any]]


@functools.cache
def _commit() -> str:
    """Name the commit; all trees with changes of their own share one name."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    here = Path(__file__).parent
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _kept(config: pytest.Config) -> Path:
    assert config.cache is not None
    return config.cache.mkdir(f"faults-{_commit()}")


@dataclass
class Trial:
    """What one test plants, each fault with what was seen of it."""

    test: str
    planted: list[tuple[str, str]] = field(default_factory=list)
    is_kept: bool = False

    def strike(self, key: str, seen: str) -> None:
        """Note a fault that was planted."""
        assert key in CATALOGUE
        self.planted.append((key, seen))


def _trials(config: pytest.Config) -> list[Trial]:
    """Read what was tried on this commit so far."""
    record = _kept(config) / "record.jsonl"
    lines = record.read_text().splitlines() if record.exists() else []
    return [Trial(**json.loads(line)) for line in lines]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what passed on this commit."""
    if config.getoption("markexpr") != "faults":
        return
    passed = {trial.test for trial in _trials(config) if trial.is_kept}
    if over := [item for item in items if item.nodeid in passed]:
        config.hook.pytest_deselected(items=over)
        items[:] = [item for item in items if item.nodeid not in passed]


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Where everything had passed before, the suite ends well."""
    if session.config.getoption("markexpr") != "faults":
        return
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and _trials(session.config):
        session.exitstatus = pytest.ExitCode.OK


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print what was tried so far on this commit."""
    if config.getoption("markexpr") != "faults":
        return
    for trial in _trials(config):
        for key, seen in trial.planted:
            CATALOGUE[key].add(seen, is_kept=trial.is_kept)
    terminalreporter.section(f"fault catalogue, commit {_commit()}")
    terminalreporter.write_line(table())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep for `trial` whether the test was passed; one that was interrupted was not."""
    report = yield
    if report.when == "call":
        item.stash[_IS_PASSED] = report.passed
    return report


@pytest.fixture
def trial(request: pytest.FixtureRequest) -> Iterator[Trial]:
    """Count what the test plants; the promises are kept if the whole test is passed."""
    trial = Trial(request.node.nodeid)
    yield trial
    trial.is_kept = request.node.stash.get(_IS_PASSED, False)
    with (_kept(request.config) / "record.jsonl").open("a") as record:
        record.write(f"{json.dumps(trial.__dict__)}\n")


@pytest.fixture(scope="session")
def prepared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with drops (the newest has no labels) and a state in which every database is ready."""
    kept = _kept(request.config)
    with FileLock(kept / "prepared.lock"):
        if not (kept / "prepared").exists():
            half = tmp_path_factory.mktemp("half")
            write_drops(half / "drops", first=Month.parse("2024-01"), users=USERS, months=MONTHS)
            world = World(environment(half / "home", **TOLD), half / "drops")
            with world.entered(), running_stack(("postgres", "mlflow", "api")):
                pass
            assert world.leftovers() == []
            World.copy_of(half, kept / "half")
            (kept / "half").rename(kept / "prepared")
    return kept / "prepared"


@pytest.fixture(scope="session")
def undisturbed(
    request: pytest.FixtureRequest, prepared: Path, tmp_path_factory: pytest.TempPathFactory
) -> Undisturbed:
    """Return what comes out where nothing goes wrong; it is made when the first trial asks for it."""
    kept = _kept(request.config)

    @functools.cache
    def outcome() -> dict[str, Any]:
        with FileLock(kept / "undisturbed.lock"):
            if not (kept / "undisturbed.json").exists():
                world = World.copy_of(prepared, tmp_path_factory.mktemp("it") / "world", **TOLD)
                world.run_until_it_ends_well()
                (kept / "undisturbed.json").write_text(json.dumps(world.outcome()))
        return dict(json.loads((kept / "undisturbed.json").read_text()))

    return outcome


@pytest.fixture
def new_world(
    request: pytest.FixtureRequest, prepared: Path, tmp_path: Path
) -> Iterator[MakeWorld]:
    """Make worlds of a test's own; nothing of them is left running, and what failed is there to be read."""
    failed, worlds = request.session.testsfailed, list[World]()

    def make(**more: str) -> World:
        worlds.append(World.copy_of(prepared, tmp_path / f"world{len(worlds)}", **TOLD, **more))
        return worlds[-1]

    yield make
    for world in worlds:
        world.end_commands()
        world.churn("down")
    assert [each for world in worlds for each in world.leftovers()] == []
    if request.session.testsfailed == failed:
        for world in worlds:
            shutil.rmtree(world.home)


@pytest.fixture
def moment(request: pytest.FixtureRequest) -> Moment:
    """Draw how many events there are to be when a fault strikes: random, and the same in every run."""
    seed = int.from_bytes(hashlib.sha256(request.node.nodeid.encode()).digest()[:8])
    chance = np.random.default_rng(seed)

    def drawn(world: World) -> int:
        return world.logged + int(chance.integers(max(EVENTS - world.logged, _LEAST_LEFT)))

    return drawn
