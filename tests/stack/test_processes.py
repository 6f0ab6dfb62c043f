import signal
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from churn.stack.processes import Part, living, spawn, stop, with_what_they_need
from churn.stack.record import Owner
from tests.kit.waiting import until

# A child that deafens itself, and a grandchild in a session of its own, as a run worker may be.
STUBBORN = textwrap.dedent("""
    import os, signal, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
    print("ready", flush=True)
    time.sleep(600)
""")


def part(home: Path, name: str, script: str, after: tuple[str, ...] = ()) -> Part:
    return Part(
        name=name, command=lambda: [sys.executable, "-c", script], log=home / name, after=after
    )


def test_grandchildren_of_other_sessions_are_found_and_killed(tmp_path: Path) -> None:
    stubborn = part(tmp_path, "stubborn", STUBBORN)
    process = spawn(stubborn, tmp_path, {})
    until(lambda: (tmp_path / "stubborn").read_text() == "ready\n" * 2)
    family = living(tmp_path)["stubborn"]
    assert len({p for p in family if p.status() != psutil.STATUS_ZOMBIE}) == 2
    stop(tmp_path, ("stubborn",), signal.SIGTERM, grace=0.5)
    assert not living(tmp_path)
    assert process.wait(300) == -signal.SIGKILL


def test_only_the_named_parts_of_this_folder_are_stopped(tmp_path: Path) -> None:
    sleep = "import time; time.sleep(600)"
    homes = [tmp_path / "one", tmp_path / "two"]
    for home in homes:
        home.mkdir()
    processes = [spawn(part(home, name, sleep), home, {}) for home in homes for name in ("a", "b")]
    stop(homes[0], ("a",), signal.SIGTERM)
    assert living(homes[0]).keys() == {"b"}
    assert living(homes[1]).keys() == {"a", "b"}
    for home in homes:
        stop(home, ("a", "b"), signal.SIGTERM)
    assert {process.wait(300) for process in processes} == {-signal.SIGTERM}


def test_a_part_brings_what_it_needs(tmp_path: Path) -> None:
    parts = (
        part(tmp_path, "postgres", ""),
        part(tmp_path, "init", "", after=("postgres",)),
        part(tmp_path, "api", "", after=("init",)),
        part(tmp_path, "mlflow", "", after=("init",)),
    )
    names = [p.name for p in with_what_they_need(("api",), parts)]
    assert names == ["postgres", "init", "api"]
    # A server of somebody else's is no part of ours.
    assert [p.name for p in with_what_they_need(("api",), parts[1:])] == ["init", "api"]


def test_a_command_is_known_again_after_the_clock_was_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux derives when a process began from the time of day: setting the clock moves both together."""
    owner = Owner.this_process()
    (tmp_path / str(owner.pid)).symlink_to(f"/proc/{owner.pid}")
    lines = Path("/proc/stat").read_text().splitlines()
    before = next(int(line.split()[1]) for line in lines if line.startswith("btime"))
    (tmp_path / "stat").write_text(f"btime {before + 3_601}\n")
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))
    assert psutil.boot_time() == before + 3_601
    assert owner.lives
    assert not owner.model_copy(update={"begun": owner.begun - 1}).lives
