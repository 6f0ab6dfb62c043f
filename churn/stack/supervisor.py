"""The stack of one state folder: started in order, watched until each part is well, and stopped in order.

Commands use it in three ways: up, down, and beside a block of work. What each part is, is `parts.py`.
"""

import contextlib
import logging
import os
import signal
import subprocess
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
    make_parts,
    prepare_dagster_home,
)
from churn.stack.plan import make_plan
from churn.stack.postgres import STOP_SIGNAL
from churn.stack.processes import (
    Part,
    Report,
    check_ports,
    living,
    silent,
    spawn,
    stop,
    undisturbed,
    with_what_they_need,
)
from churn.stack.record import Owner, PartRecord, Record, lock_holder, locked

_TAIL_LINES = 12


class Underway:
    """One part that was just started."""

    def __init__(self, part: Part, home: Path, environment: Mapping[str, str]) -> None:
        self.part, self.begun = part, time.monotonic()
        self._log_before = part.log.stat().st_size if part.log.exists() else 0
        self.process: subprocess.Popen[bytes] = spawn(part, home, environment)

    @property
    def seconds(self) -> float:
        """The time since the start."""
        return time.monotonic() - self.begun

    def is_well(self) -> bool:
        """Say whether the part is well now; raise a ChurnError if it ended or took too long."""
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
        with self.part.log.open("rb") as log:
            log.seek(self._log_before)
            tail = log.read().decode(errors="replace").splitlines()[-_TAIL_LINES:]
        return ChurnError(
            "\n".join([f"{self.part.name} {what}", *(f"  | {line}" for line in tail)]),
            remedy=f"the whole log is {self.part.log}",
        )


_LAST = STOP_STAGES[-1]


def take_down(
    home: Path,
    names: Collection[str],
    report: Report,
    fallen: Mapping[str, PartRecord] | None = None,
) -> list[str]:
    """Stop the named parts of a state folder, with all that they started; return those that ran.

    Args:
        home: the state folder.
        names: of the parts.
        report: told of each one that has stopped.
        fallen: parts of a stack that is up, which had died; the record of where they belong stays.
    """
    strays = set(names) - {name for stage in STOP_STAGES for name in stage}
    first, *others = STOP_STAGES
    stopped: list[str] = []
    with undisturbed():
        for stage in ((*first, *sorted(strays)), *others):
            alive = living(home)
            now = tuple(name for name in stage if name in names and name in alive)
            begun = time.monotonic()
            if now:
                stop(home, now, STOP_SIGNAL if stage == _LAST else signal.SIGTERM)
            for name in now:
                report(name, "stopped", time.monotonic() - begun)
            stopped += now
        record = Record.read(home)
        rest = {n: part for n, part in record.parts.items() if n not in names}
        record.parts = rest | dict(fallen or {}) if living(home) else {}
        record.write(home)
        get_settings.cache_clear()
    return sorted(stopped, key=(*PARTS, *stopped).index)


_POLL_SECONDS = 0.2


class Stack:
    """The stack of one state folder, as it runs or as it would run.

    Attributes:
        environment: what a process must be told in order to work with this stack.
        parts: every part that this stack may have.
        alive: the names of the parts that run.
        record: what was written down about them.
        fallen: the parts of a stack that is up which have died; whoever needs one starts it for all.
        remains: the parts that have died and of which processes are left.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        families = living(home)
        self.record = Record.read(home) if families else Record()
        # A part that died comes back where the others look for it.
        plan = make_plan(self.record)
        recorded = self.record.parts
        # A part is its first process: what that one started may outlive it, and does not do its work.
        self.alive = {
            name
            for name, family in families.items()
            if name not in recorded or any(p.pid == recorded[name].pid for p in family)
        }
        self.remains = families.keys() - self.alive
        self.fallen = {
            n: part for n, part in recorded.items() if n not in self.alive and part.owner is None
        }
        kept = self.alive | self.fallen.keys()
        self.record.parts = {n: part for n, part in recorded.items() if n in kept}
        self.environment = plan.environment
        self.parts = make_parts(plan, self.record)

    def abandoned(self) -> list[str]:
        """Name the living parts whose command was killed before it could stop them."""
        recorded = self.record.parts
        return sorted(n for n in self.alive if n not in recorded or recorded[n].abandoned)

    def missing(self, names: Sequence[str]) -> tuple[Part, ...]:
        """Return what does not run of the named parts and of what they need."""
        wanted = with_what_they_need(tuple(names), self.parts)
        # A database is ready where a part runs that came after making it so.
        ready = {name for part in self.parts if part.name in self.alive for name in part.after}
        done = self.alive | (INITS & ready)
        return tuple(part for part in wanted if part.name not in done)

    def start(self, names: Sequence[str], owner: Owner | None, report: Report) -> list[str]:
        """Start what is missing and return its names, once all of it is well.

        If one part does not come up, or on Ctrl-C, what was started is stopped again.

        Args:
            names: the parts that must run.
            owner: the command that will stop them; None lets them run until `churn down`, as does what
                had died of a stack that is up.
            report: told of each step.
        """
        self._refuse_abandoned()
        missing = self.missing(names)
        self._clear_remains([part.name for part in missing])
        check_ports(missing)
        prepare_dagster_home(self.home)
        started = [part.name for part in missing]
        try:
            # Until all is well this command owns the parts: were it killed, they would be orphans.
            self._bring_up(missing, Owner.this_process(), report)
            for name in set(started) & self.record.parts.keys():
                self.record.parts[name].owner = None if name in self.fallen else owner
            self._write()
        except BaseException:
            take_down(self.home, started, report, fallen=self.fallen)
            raise
        return [name for name in started if name not in INITS]

    def _bring_up(self, missing: Sequence[Part], owner: Owner, report: Report) -> None:
        coming = {part.name: part for part in missing}
        underway: dict[str, Underway] = {}
        while coming or underway:
            for part in list(coming.values()):
                if (coming.keys() | underway.keys()) & set(part.after):
                    continue
                del coming[part.name]
                if part.is_done():
                    continue
                report(part.name, "starting", 0)
                underway[part.name] = self._spawn(part, owner)
            for name, start in list(underway.items()):
                if start.is_well():
                    del underway[name]
                    report(name, "ready", start.seconds)
            time.sleep(_POLL_SECONDS)

    def _spawn(self, part: Part, owner: Owner) -> Underway:
        underway = Underway(part, self.home, self.environment)
        if part.probe is not None:
            self.alive.add(part.name)
            self.record.parts[part.name] = PartRecord(
                pid=underway.process.pid, port=part.port, started=time.time(), owner=owner
            )
        self._write()
        return underway

    def _write(self) -> None:
        self.record.write(self.home, self.environment)
        get_settings.cache_clear()

    def _clear_remains(self, names: Sequence[str]) -> None:
        """Stop what is left of dead parts; a worker of a dead code server may bring its run to the end."""
        left = tuple(name for name in names if name in self.remains and name != LEAVES_WORKERS)
        if left:
            stop(self.home, left, signal.SIGTERM)

    def _refuse_abandoned(self) -> None:
        if names := self.abandoned():
            processes = living(self.home)
            facts = [f"{n} (process {processes[n][0].pid})" for n in names if n in processes]
            raise ChurnError(
                f"still running from a command that was killed: {', '.join(facts)}",
                where=str(self.home),
                remedy="`churn down` stops them",
            )


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
        return Stack(home).start((*PARTS, METRICS), None, report)


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
