"""Advisory locks: a wait says for whom, and ends when it is told to."""

import logging
import subprocess
import sys
import threading

import pytest

from churn import database
from churn.database import connect, lock, process_name
from churn.settings import Settings
from tests.kit.waiting import until

HOLDER = """
from churn.database import connect, lock, process_name
with connect() as connection:
    lock(connection, "a thing")
    print(process_name(), flush=True)
    input()
"""


def test_what_waits_for_a_lock_says_for_whom_and_since_when(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(database, "SAY_AFTER_SECONDS", 0.05)
    caplog.set_level(logging.WARNING)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        name = holder.stdout.readline().strip()
        assert f"process {holder.pid} on " in name
        got: list[bool] = []

        def wait() -> None:
            with connect() as connection:
                lock(connection, "a thing")
                got.append(True)

        waiting = threading.Thread(target=wait)
        waiting.start()
        until(lambda: f"waits for {name}, at work since " in caplog.text, 60)
        assert "(a thing)" in caplog.text
        assert not got
        holder.communicate("\n")
        waiting.join(60)
    assert got == [True]


def test_a_lock_that_is_free_is_silent(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(database, "SAY_AFTER_SECONDS", 0.0)
    with connect() as connection, connect() as other:
        lock(connection, "one")
        lock(connection, "one")  # its own
        lock(other, "two")
    assert not caplog.records


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["/x/churn/cli/main.py", "run", "--drops"], "churn run"),
        (["/x/bin/churn", "up"], "churn up"),
        (["/x/dagster/__main__.py", "api", "grpc"], "dagster api"),
        (["/x/bin/uvicorn", "--port"], "uvicorn"),
    ],
)
def test_processes_have_names_for_people(
    argv: list[str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    assert process_name.__wrapped__().startswith(f"{name}, process ")
