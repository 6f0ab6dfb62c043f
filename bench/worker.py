"""Measuring: each way of doing the work has its own process, and the ways take turns."""

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
    """What one call returned, and the seconds that it took."""

    value: Any
    seconds: float


class Worker:
    """A separate process, started with the environment of this moment, so that its memory is its own."""

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(1, get_context("spawn"), initializer=_write_to_log)

    def __enter__(self) -> Self:
        # Started now, and not within the first measurement.
        self._pool.submit(int).result()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown()

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `work` in the process, and return its result."""
        return self._pool.submit(work, *args, **kwargs).result()

    def time(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Timed:
        """Call `work` in the process, and time it; the way there and back is not counted."""
        return self._pool.submit(_timed, work, args, kwargs).result()

    def peak_mb(self) -> float:
        """Return the peak memory of the process so far in MB, including its libraries."""
        return self.run(peak_mb)


def _write_to_log() -> None:
    """Keep out of the progress what libraries print; errors come back as exceptions."""
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
        # Not from ru_maxrss, since on Linux exec hands the parent's peak on to its child.
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    if pid != "self":
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def take_turns(ways: Mapping[str, Callable[[], T]], sizes: Sizes, say: Say) -> dict[str, list[T]]:
    """Run the ways in turn, first to warm up, then to be counted; return the results of the counted runs."""
    results: dict[str, list[T]] = {name: [] for name in ways}
    for number in range(1 - sizes.warm_ups, sizes.runs + 1):
        for name, way in ways.items():
            say(f"{name}, run {number} of {sizes.runs}" if number > 0 else f"{name}, warm-up")
            value = way()
            if number > 0:
                results[name].append(value)
    return results
