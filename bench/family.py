"""What a process and those that it has started use: processor seconds and memory, as the system counts."""

import contextlib
import math
import threading
from collections.abc import Iterator

import psutil

from bench.worker import peak_mb

_POLL_SECONDS = 0.1


def processor_seconds() -> float:
    """Return the processor time so far of all that this process has started, including what has ended."""
    seconds = 0.0
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            # `children_*` are those that have ended and were waited for; the living ones come by themselves.
            seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


@contextlib.contextmanager
def peaks_of(pid: int) -> Iterator[dict[int, float]]:
    """Watch a process and all that it starts; the yielded dict fills with the peak of each in MB, by id."""
    peaks: dict[int, float] = {}
    over = threading.Event()

    def look() -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            head = psutil.Process(pid)
            for process in (head, *head.children(recursive=True)):
                # It may have ended meanwhile.
                with contextlib.suppress(OSError, StopIteration):
                    peak = peak_mb(process.pid)
                    if not math.isnan(peak):
                        peaks[process.pid] = peak

    def watch() -> None:
        while not over.wait(_POLL_SECONDS):
            look()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peaks
    finally:
        over.set()
        watcher.join()
        # What still lives tells its peak now, however seldom the watcher had its turn.
        look()
