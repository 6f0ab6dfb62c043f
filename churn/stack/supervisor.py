"""The stack of one state folder: started in order, watched until every part is healthy, stopped in order.

Commands use it in three ways: `up`, `down`, and `running_stack` around a block of work. The parts, their
addresses and environment are defined in `parts.py`.
"""

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from churn.errors import ChurnError
from churn.settings import get_settings, home_folder
from churn.stack.parts import (
    INITS,
    LEAVES_WORKERS,
    METRICS,
    PARTS,
    STOP_STAGES,
    make_plan,
    prepare_dagster_home,
)
from churn.stack.postgres import STOP_SIGNAL
from churn.stack.processes import Part, Report, check_ports, living, log_of, silent, spawn, stop
from churn.stack.record import PartRecord, StackRecord, lock_holder, locked

_TAIL_LINES, _POLL_SECONDS, _STOP_HOLDER_SECONDS = 12, 0.2, 90.0
_logger = logging.getLogger(__name__)


class StartedPart:
    """One part that was just started, until it is healthy."""

    def __init__(self, part: Part, home: Path, environment: Mapping[str, str]) -> None:
        self.part, self._log, self._begun = part, log_of(home, part.name), time.monotonic()
        self._log_before = self._log.stat().st_size if self._log.exists() else 0
        self.process = spawn(part, home, environment)

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._begun

    def is_well(self) -> bool:
        """Return whether the part is healthy now.

        Raises:
            ChurnError: it has ended, or took too long; with the end of its log.
        """
        code = self.process.poll()
        if code == 0 and self.part.probe is None:
            return True
        if code is not None:
            raise self._failure(f"ended with status {code}")
        problem = self.part.probe() if self.part.probe else "still at work"
        if problem and self.seconds > self.part.patience:
            raise self._failure(f"is not well after {self.part.patience:.0f} s: {problem}")
        return not problem

    def _failure(self, what: str) -> ChurnError:
        written = self._log.read_bytes()[self._log_before :].decode(errors="replace")
        tail = [f"  | {line}" for line in written.splitlines()[-_TAIL_LINES:]]
        return ChurnError(
            "\n".join([f"{self.part.name} {what}", *tail]), remedy=f"the whole log is {self._log}"
        )


class Stack:
    """The stack of one state folder, as it runs or as it would run.

    Attributes:
        environment: the variables that a process needs in order to work with this stack.
        parts: every part that this stack may have, by name.
        record: what `stack.json` says of those that are alive or have fallen.
        alive: the names of the parts that run.
        fallen: dead parts of a stack that is up; whoever needs one restarts it for everybody.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        families = living(home)
        self.record = StackRecord.read(home) if families else StackRecord()
        # A part that died comes back on the port where the others look for it.
        plan = make_plan(self.record)
        self.environment, self.parts = plan.environment, plan.parts
        recorded = self.record.parts
        self.alive = {
            name
            for name, family in families.items()
            if name not in recorded or recorded[name].is_alive(family)
        }
        self.fallen = {
            n: part for n, part in recorded.items() if n not in self.alive and not part.temporary
        }
        self.record.parts = {
            n: p for n, p in recorded.items() if n in self.alive | self.fallen.keys()
        }

    def abandoned(self) -> list[str]:
        """Return the living parts whose command was killed before it could stop them."""
        names = self._temporary()
        return names if names and lock_holder(self.home) is None else []

    def _temporary(self) -> list[str]:
        """Return the living parts that whoever holds the lock will stop; without one, nobody does."""
        recorded = self.record.parts
        return sorted(n for n in self.alive if n not in recorded or recorded[n].temporary)

    def missing(self, names: Sequence[str]) -> list[Part]:
        """Return those of the named parts, and of the parts they need, that do not run."""
        wanted = set(names)
        for part in reversed(self.parts.values()):
            if part.name in wanted:
                wanted.update(part.after)
        # A database is ready if a part runs that starts only after it has been made so.
        ready = {
            after for name in self.alive & self.parts.keys() for after in self.parts[name].after
        }
        done = self.alive | (INITS & ready)
        return [part for name, part in self.parts.items() if name in wanted - done]

    def start(self, names: Sequence[str], report: Report, *, temporary: bool) -> list[str]:
        """Start the parts that are missing, and return their names once all are healthy.

        If one does not come up, or on Ctrl-C, those that were started are stopped again. The caller holds
        the lock; if the parts are temporary, it stops them before it gives that away. Fallen parts run until
        `churn down` in any case.

        Raises:
            ChurnError: a part does not come up, a port is taken, or parts run whose command was killed.
        """
        if left := self._temporary():
            processes = living(self.home)
            facts = [f"{n} (process {processes[n][0].pid})" for n in left if n in processes]
            raise ChurnError(
                f"still running from a command that was killed: {', '.join(facts)}",
                where=str(self.home),
                remedy="`churn down` stops them",
            )
        missing = self.missing(names)
        started = [part.name for part in missing]
        self._clear_remains(started)
        check_ports(missing)
        prepare_dagster_home(self.home)
        try:
            self._bring_up(missing, report)
            # Until now they were temporary: if this command is killed, they count as abandoned.
            for name in set(started) & self.record.parts.keys():
                self.record.parts[name].temporary = temporary and name not in self.fallen
            self._write()
        except BaseException:
            take_down(self.home, started, report, fallen=self.fallen)
            raise
        return [name for name in started if name not in INITS]

    def _bring_up(self, missing: Sequence[Part], report: Report) -> None:
        coming = {part.name: part for part in missing}
        starting: dict[str, StartedPart] = {}
        while coming or starting:
            for part in list(coming.values()):
                if (coming.keys() | starting.keys()) & set(part.after):
                    continue
                del coming[part.name]
                if not part.is_done():
                    report(part.name, "starting", 0)
                    starting[part.name] = self._spawn(part)
            for name, started in list(starting.items()):
                if started.is_well():
                    del starting[name]
                    report(name, "ready", started.seconds)
            time.sleep(_POLL_SECONDS)

    def _spawn(self, part: Part) -> StartedPart:
        started = StartedPart(part, self.home, self.environment)
        if part.probe is not None:
            self.alive.add(part.name)
            self.record.parts[part.name] = PartRecord(
                pid=started.process.pid, port=part.port, started=time.time(), temporary=True
            )
        self._write()
        return started

    def _clear_remains(self, names: Sequence[str]) -> None:
        """Stop what is left of dead parts; a worker of a dead code server may finish its run."""
        stop(self.home, [name for name in names if name != LEAVES_WORKERS], signal.SIGTERM)

    def _write(self) -> None:
        self.record.write(self.home, self.environment)
        get_settings.cache_clear()


def take_down(
    home: Path,
    names: Collection[str],
    report: Report,
    fallen: Mapping[str, PartRecord] | None = None,
) -> list[str]:
    """Stop the named parts of a state folder, with all that they started; return those that ran.

    The record of fallen parts is kept, for the sake of their ports, as long as anything runs.
    """
    first, *others = STOP_STAGES
    strays = sorted(set(names) - {name for stage in STOP_STAGES for name in stage})
    stopped: list[str] = []
    with _undisturbed():
        for stage in ((*first, *strays), *others):
            alive, begun = living(home), time.monotonic()
            if now := [name for name in stage if name in names and name in alive]:
                stop(home, now, STOP_SIGNAL if stage == others[-1] else signal.SIGTERM)
            for name in now:
                report(name, "stopped", time.monotonic() - begun)
            stopped += now
        record = StackRecord.read(home)
        rest = {n: part for n, part in record.parts.items() if n not in names}
        record.parts = rest | dict(fallen or {}) if living(home) else {}
        record.write(home)
        get_settings.cache_clear()
    return sorted(stopped, key=(*PARTS, *stopped).index)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Ignore further signals, so that no Ctrl-C cuts a stop short: each stage has a deadline anyway."""
    # The main thread alone is interrupted by signals, and may say what they do.
    is_main = threading.current_thread() is threading.main_thread()
    ignored = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if is_main else ()
    before = {number: signal.signal(number, signal.SIG_IGN) for number in ignored}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def running_stack(parts: Sequence[str] = PARTS, report: Report = silent) -> Iterator[Stack]:
    """Run a block beside the named parts, and stop at its end exactly those that were started for it.

    A fallen part of a stack that is up is restarted on its port and stays, since it is not the block's own.
    Inside the block, `os.environ` and the settings are those of this stack.
    """
    home = home_folder()
    stack = Stack(home)
    with contextlib.ExitStack() as at_end:
        if stack.missing(parts) or stack.abandoned():
            lock = at_end.enter_context(contextlib.ExitStack())
            lock.enter_context(locked(home))
            # What runs may have changed before the lock was ours.
            stack = Stack(home)
            own = [part.name for part in stack.missing(parts) if part.name not in stack.fallen]
            # Registered before the start, since Ctrl-C may come at any time.
            if own:
                at_end.callback(take_down, home, own, report)
            stack.start(parts, report, temporary=True)
            # With nothing to stop at the end, others may start and stop parts meanwhile.
            if not own:
                lock.close()
        at_end.enter_context(exported(stack.environment))
        yield stack


def up(report: Report = silent) -> list[str]:
    """Start the parts that do not run, leave them running, and return their names."""
    home = home_folder()
    with locked(home):
        return Stack(home).start((*PARTS, METRICS), report, temporary=False)


def down(report: Report = silent) -> list[str]:
    """Stop everything of the state folder, whoever started it; return the parts that ran."""
    home = home_folder()
    if not home.exists():
        return []
    # The holder of the lock stops what it has started, and then releases the lock.
    if holder := lock_holder(home):
        holder.send_signal(signal.SIGTERM)
        _logger.warning("waits for process %d to stop what it has started", holder.pid)
    with locked(home, patience=_STOP_HOLDER_SECONDS):
        return take_down(home, living(home).keys(), report)


@contextlib.contextmanager
def exported(environment: Mapping[str, str]) -> Iterator[None]:
    """Have these variables in `os.environ` and in the settings inside the block."""
    before = dict(os.environ)
    os.environ.update(environment)
    get_settings.cache_clear()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        get_settings.cache_clear()
