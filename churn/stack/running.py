"""The stack of one state folder: what runs of it, what is missing, and how that is started."""

import signal
import time
from collections.abc import Sequence
from pathlib import Path

from churn.errors import ChurnError
from churn.settings import get_settings
from churn.stack.part import Part, with_what_they_need
from churn.stack.parts import INITS, LEAVES_WORKERS, make_parts, prepare_dagster_home
from churn.stack.plan import make_plan
from churn.stack.ports import check_ports
from churn.stack.processes import living, stop
from churn.stack.record import Owner, PartRecord, Record
from churn.stack.report import Report
from churn.stack.takedown import take_down
from churn.stack.underway import Underway

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
