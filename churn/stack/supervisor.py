"""Up, down, or beside a block of work: the ways in which commands use the stack."""

import contextlib
import logging
import os
import signal
from collections.abc import Iterator, Sequence

from churn.settings import get_settings, home_folder
from churn.stack.parts import PARTS
from churn.stack.processes import living
from churn.stack.record import Owner, lock_holder, locked
from churn.stack.report import Report, silent
from churn.stack.running import Stack
from churn.stack.takedown import take_down

__all__ = ["PARTS", "Report", "Stack", "down", "running_stack", "up"]
_STOP_HOLDER_SECONDS = 90.0
_logger = logging.getLogger(__name__)


@contextlib.contextmanager
def running_stack(parts: Sequence[str] = PARTS, report: Report = silent) -> Iterator[Stack]:
    """Run a block beside the named parts; stop at its end exactly what was started for it.

    What has died of a stack that is up is started where it was, and stays: it is not the block's own.
    Inside, `os.environ` and the settings speak of this stack.
    """
    home = home_folder()
    stack = Stack(home)
    with contextlib.ExitStack() as at_end:
        if stack.missing(parts) or stack.abandoned():
            lock = at_end.enter_context(contextlib.ExitStack())
            lock.enter_context(locked(home))
            stack = Stack(home)  # what runs may have changed before the lock was ours
            own = [part.name for part in stack.missing(parts) if part.name not in stack.fallen]
            if own:  # before: Ctrl-C may come at any time
                at_end.callback(take_down, home, own, report)
            stack.start(parts, Owner.this_process(), report)
            if not own:  # nothing is to be stopped at the end: others may start and stop meanwhile
                lock.close()
        at_end.enter_context(_exported(stack.environment))
        yield stack


def up(report: Report = silent) -> list[str]:
    """Start whatever does not run, leave it running, and return what was started."""
    home = home_folder()
    with locked(home):
        return Stack(home).start(PARTS, None, report)


def down(report: Report = silent) -> list[str]:
    """Stop everything of the state folder, whoever started it; return the parts that ran."""
    home = home_folder()
    if not home.exists():
        return []
    if holder := lock_holder(home):  # it stops what it has started, then lets go
        holder.send_signal(signal.SIGTERM)
        _logger.warning("waits for process %d to stop what it has started", holder.pid)
    with locked(home, patience=_STOP_HOLDER_SECONDS):
        return take_down(home, living(home).keys(), report)


@contextlib.contextmanager
def _exported(environment: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(environment)
    get_settings.cache_clear()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        get_settings.cache_clear()
