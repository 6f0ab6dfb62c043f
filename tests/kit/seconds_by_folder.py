"""What each folder of tests cost: seconds on the clock and of the processors, shown at the end of a run."""

import contextlib
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

_TESTS = Path(__file__).parents[1]


def folder_of(file: Path) -> str:
    """Return the folder that a file of tests lies in, as its path below tests/: `whole/e2e`, or `.`."""
    return file.parent.relative_to(_TESTS).as_posix()


class Ledger:
    """A plugin of pytest that adds up by folder, in every worker of pytest-xdist, and shows the sums.

    Processor seconds are those of the tests' process and of all that it started and can still name: of a
    stack that `churn up` has left to itself they are not.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._clock: Counter[str] = Counter()
        self._processors: Counter[str] = Counter()
        self._folder = ""  # to which the time since `_since` belongs
        self._since = (time.monotonic(), _processor_seconds())

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> None:
        folder = folder_of(item.path)
        if folder != self._folder:  # to look at all processes costs too much for every test
            self._write()
            self._folder = folder

    def _write(self) -> None:
        """Enter the time since the last entry under the folder that has had it."""
        now = (time.monotonic(), _processor_seconds())
        if self._folder:
            self._clock[self._folder] += now[0] - self._since[0]
            # What started as ours may have been left to itself meanwhile, its seconds with it.
            self._processors[self._folder] += max(0.0, now[1] - self._since[1])
        self._since = now

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        self._write()
        if hasattr(self._config, "workeroutput"):
            self._config.workeroutput["seconds"] = [dict(self._clock), dict(self._processors)]

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Add what a worker that has ended hands over."""
        clock, processors = getattr(node, "workeroutput", {}).get("seconds", ({}, {}))
        self._clock.update(clock)
        self._processors.update(processors)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section("seconds by folder: processors, clock")
        for folder, seconds in self._processors.most_common():
            terminalreporter.line(f"{seconds:8.1f} {self._clock[folder]:8.1f}  {folder}")
        whole = self._processors.total(), self._clock.total()
        terminalreporter.line(f"{whole[0]:8.1f} {whole[1]:8.1f}  all, the workers added up")


def _processor_seconds() -> float:
    """Return the processor time so far of this process and of all that it started, ended ones included."""
    seconds = 0.0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            # children_...: of those that were waited for; the living have their own turn.
            seconds += times.user + times.system + times.children_user + times.children_system
    return seconds
