"""A second process for jobs, beside the one that asks: the lane works them off one after the other."""

import atexit
import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Self

import dagster as dg

from churn.months import Month
from churn_assets.run import JobResult, instance, run_job


class Lane:
    """Jobs in the order in which they are given, in a process that ends with this one."""

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), initializer=_stand_apart
        )

    def __enter__(self) -> Self:
        self._alive = self._pool.submit(_come_to_life)
        return self

    @property
    def pid(self) -> int:
        """Of the process; waits until it is there."""
        return self._alive.result()

    def submit(self, job: str, month: Month, then: Callable[[], None]) -> Future[JobResult]:
        """Put a job at the end; `then` is called when it has run."""
        future = self._pool.submit(_run, job, month)
        future.add_done_callback(lambda done: None if done.cancelled() else then())
        return future

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:  # what is at work there is to end as an interrupted run does
            with suppress(BrokenProcessPool):
                os.kill(self.pid, signal.SIGINT)
        self._pool.shutdown(cancel_futures=error is not None)


class _Interruption:
    """The first SIGINT ends the job at work, and lets no other one begin."""

    def __init__(self) -> None:
        self.came = self.may_raise = False

    def __call__(self, *_: object) -> None:
        self.came = True
        if self.may_raise:
            raise KeyboardInterrupt

    def __enter__(self) -> None:
        self.may_raise = True
        if self.came:
            raise KeyboardInterrupt

    def __exit__(self, *_: object) -> None:
        self.may_raise = False


_interruption = _Interruption()  # of the lane's own process


def _stand_apart() -> None:
    """Leave Ctrl-C to the process that asks, and outlive it in no case."""
    os.setsid()
    signal.signal(signal.SIGINT, _interruption)
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101  (this runs in a child)

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, name="end-with-parent", daemon=True).start()


def _come_to_life() -> int:
    """Load what jobs need; return the process's id."""
    import churn_assets.definitions  # noqa: F401

    return os.getpid()


@functools.cache
def _instance() -> dg.DagsterInstance:
    """Open the instance once for this process."""
    opened = ExitStack()
    atexit.register(opened.close)
    return opened.enter_context(instance())


def _run(job: str, month: Month) -> JobResult:
    try:
        with _interruption:
            return run_job(job, month, _instance())
    finally:
        _interruption.may_raise = False  # where it came as the block began
