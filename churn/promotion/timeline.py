"""What the ledger's entries amount to, in decision time: pure functions, no database."""

import datetime as dt
from collections.abc import Iterable

from churn.months import Month
from churn.promotion.entry import Entry


def decisions(entries: Iterable[Entry]) -> dict[Month, Entry]:
    """Return the decision that stands for each month: the newest entry of it."""
    return {
        entry.month: entry
        for entry in sorted(entries, key=lambda each: each.seq)
        if entry.is_decision and entry.month
    }


def effective(entries: Iterable[Entry]) -> list[Entry]:
    """Return what stands, in decision time: a month's decision first, then what was done by hand."""
    entries = list(entries)
    standing = [*decisions(entries).values(), *(e for e in entries if not e.is_decision)]
    return sorted(standing, key=lambda each: (each.decided_for, not each.is_decision, each.seq))


def releases_until(
    entries: Iterable[Entry], at: dt.datetime | None = None, *, before: bool = False
) -> list[str]:
    """Return the releases that a rollback could go through, the one in force last.

    Args:
        entries: of the whole ledger.
        at: the instant, itself included; None for the end of time.
        before: leave out what was decided for the instant itself.
    """
    stack: list[str] = []
    for entry in effective(entries):
        if at and (entry.decided_for > at or (before and entry.decided_for == at)):
            break
        if entry.release_id is None or entry.outcome == "keep":
            continue
        if entry.outcome == "restore" and entry.release_id in stack:
            del stack[stack.index(entry.release_id) + 1 :]
        elif entry.release_id not in stack[-1:]:
            stack.append(entry.release_id)
    return stack
