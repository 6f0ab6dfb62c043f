"""Stopping parts in the right order, whatever state the stack is in."""

import signal
import time
from collections.abc import Collection, Mapping
from pathlib import Path

from churn.settings import get_settings
from churn.stack.parts import PARTS, STOP_STAGES
from churn.stack.postgres import STOP_SIGNAL
from churn.stack.processes import living, stop, undisturbed
from churn.stack.record import PartRecord, Record
from churn.stack.report import Report

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
