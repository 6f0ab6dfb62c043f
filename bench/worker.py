"""Measuring: each way of doing a thing has a process of its own, and all take turns."""

import gc
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from bench.world import Sizes
from churn.settings import get_settings

P = ParamSpec("P")
T = TypeVar("T")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Timed:
    """What one call returned, and how long it took."""

    value: Any
    seconds: float


class Worker:
    """A process of its own, started with the environment of this moment; its memory is its own, too."""

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(1, get_context("spawn"), initializer=_write_to_log)

    def __enter__(self) -> Self:
        self._pool.submit(int).result()  # started now, not within the first measurement
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown()

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `work` there and return what it returns."""
        return self._pool.submit(work, *args, **kwargs).result()

    def time(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Timed:
        """Call `work` there and say how long it took, the way there and back not counted."""
        return self._pool.submit(_timed, work, args, kwargs).result()

    def peak_mb(self) -> float:
        """Return the most memory that the process has held so far, its libraries included."""
        return self.run(peak_mb)


def _write_to_log() -> None:
    """Keep what libraries print out of the progress; errors come back as exceptions."""
    with (get_settings().home / "worker.log").open("ab") as log:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(log.fileno(), stream.fileno())


def _timed(work: Callable[..., Any], args: Any, kwargs: Any) -> Timed:
    gc.collect()
    started = time.perf_counter()
    value = work(*args, **kwargs)
    return Timed(value, time.perf_counter() - started)


def peak_mb(pid: int | str = "self") -> float:
    """Return the peak resident memory of a process, in MB."""
    status = Path(f"/proc/{pid}/status")
    if status.exists():
        # Not ru_maxrss: on Linux, exec hands the parent's peak on to its child.
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    if pid != "self":
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def take_turns(ways: Mapping[str, Callable[[], T]], sizes: Sizes, say: Say) -> dict[str, list[T]]:
    """Run the ways in turn, first to warm up, then to be counted; return what each counted run returned."""
    found: dict[str, list[T]] = {name: [] for name in ways}
    for number in range(1 - sizes.warm_ups, sizes.runs + 1):
        for name, way in ways.items():
            say(f"{name}, run {number} of {sizes.runs}" if number > 0 else f"{name}, warm-up")
            value = way()
            if number > 0:
                found[name].append(value)
    return found
