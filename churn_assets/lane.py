"""A lane: a second process that works off jobs one after another, beside the process that submits them."""

import atexit
import functools
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import dagster as dg

from churn.errors import ChurnError
from churn.months import Month
from churn_assets.liveness import end_dead_runs
from churn_assets.run import JobResult, instance, run_job

# How often the process is replaced: a month that kills it each time is not tried for ever.
DEATHS_BORNE = 2
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Task:
    """A job that was submitted to a lane, and the future that its submitter waits for."""

    job: str
    month: Month
    then: Callable[[], None]
    future: Future[JobResult] = field(default_factory=Future)


class Lane:
    """Runs jobs in the order in which they are submitted, in a process that ends with this one.

    If that process is killed, another one takes over from the job that it was working on, a few times.
    """

    def __init__(self) -> None:
        self._deaths = 0
        self._is_ending = False
        self._changing = threading.RLock()
        self._pool = _new_pool()

    def __enter__(self) -> Self:
        self._alive = self._pool.submit(_come_to_life)
        return self

    @property
    def pid(self) -> int:
        """The id of the process; waits until it has started."""
        return self._alive.result()

    def submit(self, job: str, month: Month, then: Callable[[], None]) -> Future[JobResult]:
        """Add a job at the end of the lane; `then` is called when it has run."""
        task = _Task(job, month, then)
        self._give(task, self._pool)
        return task.future

    def _give(self, task: _Task, pool: ProcessPoolExecutor) -> None:
        try:
            given = pool.submit(_run, task.job, task.month, self._deaths > 0)
        except BrokenProcessPool:
            self._give_again(task, pool)
        else:
            given.add_done_callback(lambda done: self._settle(task, pool, done))

    def _settle(self, task: _Task, pool: ProcessPoolExecutor, done: Future[JobResult]) -> None:
        if done.cancelled():
            task.future.cancel()
            return
        error = done.exception()
        if isinstance(error, BrokenProcessPool) and not self._is_ending:
            # The tasks of a broken pool arrive here in their order.
            self._give_again(task, pool)
            return
        task.then()
        if error is None:
            task.future.set_result(done.result())
        else:
            task.future.set_exception(error)

    def _give_again(self, task: _Task, broken: ProcessPoolExecutor) -> None:
        with self._changing:
            if self._pool is broken and self._deaths < DEATHS_BORNE:
                self._deaths += 1
                _logger.warning(
                    "the process that closes and scores months was killed (is memory short?) in %s %s; "
                    "another one does it again",
                    task.job,
                    task.month,
                )
                self._pool = _new_pool()
                self._alive = self._pool.submit(_come_to_life)
            pool = self._pool
        if pool is not broken:
            self._give(task, pool)
            return
        task.future.set_exception(
            ChurnError(
                "the process that closes and scores months was killed too often",
                where=f"{task.job} {task.month}",
                remedy="see whether memory is short, then run the command again: what is done stays",
            )
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            # The job at work in the lane is to end as an interrupted run does.
            self._is_ending = True
            with suppress(BrokenProcessPool, ProcessLookupError):
                os.kill(self.pid, signal.SIGINT)
        self._pool.shutdown(cancel_futures=error is not None)


def _new_pool() -> ProcessPoolExecutor:
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, spawn, initializer=_stand_apart)


class _Interruption:
    """A handler of SIGINT that ends the job at work, and lets no other one begin."""

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


# That of the lane's own process.
_interruption = _Interruption()


def _stand_apart() -> None:
    """Leave Ctrl-C to the submitting process, and never outlive it."""
    os.setsid()
    signal.signal(signal.SIGINT, _interruption)
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101  (this runs in a child)

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, name="end-with-parent", daemon=True).start()


def _come_to_life() -> int:
    """Load what jobs need, and return the id of this process."""
    import churn_assets.definitions  # noqa: F401

    return os.getpid()


@functools.cache
def _instance() -> dg.DagsterInstance:
    """Open the instance once for this process."""
    opened = ExitStack()
    atexit.register(opened.close)
    return opened.enter_context(instance())


def _run(job: str, month: Month, is_after_a_death: bool) -> JobResult:
    try:
        with _interruption:
            if is_after_a_death:
                end_dead_runs(_instance())
            return run_job(job, month, _instance())
    finally:
        # The signal may have arrived just as the block began.
        _interruption.may_raise = False
