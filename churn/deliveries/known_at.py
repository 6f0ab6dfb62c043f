"""When a version of a file counts as known: the contract's rules, without clock and database."""

import datetime as dt
from collections.abc import Sequence

from churn.contract.tables import LABELS, Table
from churn.errors import ChurnError
from churn.months import Month


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
    """Return the known_at of a version that is being accepted; it is written once.

    Args:
        month: the month of the drop.
        table: the file.
        now: when the delivery is accepted.
        given: `--known-at`, which stands in for the time of delivery.
        history: the drop belongs to a load of history declared on time.
        earlier: known_at of every version of this file and month so far.
        next_has_begun: the next month's first delivery (labels: of labels) has been accepted.

    Raises:
        ChurnError: the month has not closed, or the version would not be the newest one.
    """
    where, due = f"{table.file} {month}", due_at(month, table)
    if now < due:
        raise ChurnError(
            _too_early(month, table, now), where=where, remedy=f"wait for {due:%Y-%m-%d}"
        )
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
        raise ChurnError(
            f"a correction known at {_instant(chosen)} would not be the newest version;"
            f" there are versions known at {versions}",
            where=where,
            remedy="give a later --known-at, or none for the time of delivery",
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


def _too_early(month: Month, table: Table, now: dt.datetime) -> str:
    if table != LABELS:
        return f"{month} has not closed yet (it is {_instant(now)})"
    return f"the labels of {month} mature when {month.next} closes (it is {_instant(now)})"


def _instant(when: dt.datetime) -> str:
    return when.astimezone(dt.UTC).isoformat()
