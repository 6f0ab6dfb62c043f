import signal
import sys
import textwrap
from pathlib import Path

import psutil

from churn.stack.processes import Part, living, log_of, spawn, stop
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


def part(name: str, script: str) -> Part:
    return Part(name, lambda: [sys.executable, "-c", script])


def test_grandchildren_of_other_sessions_are_found_and_killed(tmp_path: Path) -> None:
    stubborn = part("stubborn", STUBBORN)
    process = spawn(stubborn, tmp_path, {})
    until(lambda: log_of(tmp_path, "stubborn").read_text() == "ready\n" * 2)
    family = living(tmp_path)["stubborn"]
    assert len({p for p in family if p.status() != psutil.STATUS_ZOMBIE}) == 2
    stop(tmp_path, ("stubborn",), signal.SIGTERM, grace=0.5)
    assert not living(tmp_path)
    assert process.wait(300) == -signal.SIGKILL


def test_only_the_named_parts_of_this_folder_are_stopped(tmp_path: Path) -> None:
    sleep = "import time; time.sleep(600)"
    homes = [tmp_path / "one", tmp_path / "two"]
    processes = [spawn(part(name, sleep), home, {}) for home in homes for name in ("a", "b")]
    stop(homes[0], ("a",), signal.SIGTERM)
    assert living(homes[0]).keys() == {"b"}
    assert living(homes[1]).keys() == {"a", "b"}
    for home in homes:
        stop(home, ("a", "b"), signal.SIGTERM)
    assert {process.wait(300) for process in processes} == {-signal.SIGTERM}
