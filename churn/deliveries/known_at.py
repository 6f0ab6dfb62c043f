"""When a version of a file counts as known: the rules, as pure functions without clock or database."""

import datetime as dt
from collections.abc import Sequence

from churn.contract.in_force import LABELS
from churn.contract.structure import Table
from churn.deliveries.problems import Refusal
from churn.errors import ChurnError
from churn.months import Month

_TICK = dt.timedelta(microseconds=1)


def due_at(month: Month, table: Table) -> dt.datetime:
    """Return the earliest instant at which the file can be known: as_of, labels a month later."""
    return month.matures_at if table == LABELS else month.as_of


def known_at(
    month: Month,
    table: Table,
    *,
    now: dt.datetime,
    given: dt.datetime | None = None,
    history: bool = False,
    earlier: Sequence[dt.datetime] = (),
    next_has_begun: bool = False,
) -> dt.datetime:
    """Return the known_at of a version that is being accepted; once recorded, it never changes.

    Args:
        month: the month of the drop.
        table: the file.
        now: when the delivery is accepted.
        given: `--known-at`, in place of the time of delivery.
        history: the drop is part of a load of history, and counts as having come on time.
        earlier: the known_at of every version of this file and month so far.
        next_has_begun: a first delivery of the next month has been accepted (for labels: of its labels).

    Raises:
        Refusal: the month has not closed, or the version would not be the newest one.
        ChurnError: `given` cannot be right.
    """
    where, due = f"{table.shown_file} {month}", due_at(month, table)
    if now < due:
        raise _too_early(month, table, due, where)
    if given is not None:
        _check_given(given, now, month, where)
    if not earlier and (history or not next_has_begun):
        return due
    chosen = now if given is None else given
    if chosen < due:
        raise ChurnError(
            f"cannot be known at {_instant(chosen)}, before {_instant(due)}",
            where=where,
            remedy=f"give a later --known-at, from {due:%Y-%m-%d} on",
        )
    if earlier and chosen <= max(earlier):
        versions = ", ".join(_instant(version) for version in sorted(earlier))
        raise Refusal(
            f"a correction known at {_instant(chosen)} would not be the newest version;"
            f" there are versions known at {versions}",
            where=where,
            remedy="give a later --known-at, or none for the time of delivery",
            depends_on=["time"],
            until=max(earlier) + _TICK,
        )
    return chosen


def _check_given(given: dt.datetime, now: dt.datetime, month: Month, where: str) -> None:
    if given.tzinfo is None:
        raise ChurnError(f"--known-at {given} has no time zone", where=where, remedy="add +00:00")
    if given > now:
        raise ChurnError(
            f"--known-at {_instant(given)} lies ahead of the delivery at {_instant(now)}",
            where=where,
            remedy="give the time at which the file was known, or none",
        )
    if given < month.as_of:
        raise ChurnError(
            f"--known-at {_instant(given)} lies before the month's end, {_instant(month.as_of)}",
            where=where,
            remedy=f"give a later --known-at, from {month.as_of_date} on",
        )


def _too_early(month: Month, table: Table, due: dt.datetime, where: str) -> Refusal:
    """Return the refusal of a drop that comes before its time: the most ordinary one, and never final."""
    what, hint = f"{month} has not closed yet", ""
    if table == LABELS:
        what = f"the labels of {month} mature when {month.next} closes"
        hint = f"; without {table.shown_file} the folder is taken in at once"
    begins = minute(due + _TICK)
    return Refusal(
        f"{what}: it waits until {begins}",
        where=where,
        remedy=f"deliver it again from {begins} on; in the drops folder it is taken in by itself"
        f" then{hint}",
        depends_on=["time"],
        until=due,
    )


def minute(when: dt.datetime) -> str:
    """Return an instant for people to read: `2026-12-01 00:00 UTC`."""
    return f"{when.astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC"


def _instant(when: dt.datetime) -> str:
    return when.astimezone(dt.UTC).isoformat()
