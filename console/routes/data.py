"""Data: what came, was late or corrected, and what blocks a month."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import LiteralString

from fastapi import APIRouter, Request, Response

from console.access import Viewer, database_of
from console.errors import NothingHereError
from console.months import MonthRow, choose
from console.pages import day, month_name, page

router = APIRouter()
SHOWN = 200

CHOICES = {
    "all": "every file",
    "corrected": "corrections",
    "late": "files that came late",
    "held": "files that block their month, or could not be loaded",
}


@dataclass(frozen=True)
class DeliveryRow:
    """One version of one file."""

    month: dt.date
    file: str
    version: int
    state: str
    rows: int
    due_at: dt.datetime
    known_at: dt.datetime
    accepted_at: dt.datetime
    is_late: bool
    is_in_force: bool
    unloadable_because: str | None
    blocked_because: str | None
    confirmation: str | None


_DELIVERIES: LiteralString = """
SELECT month, file, version, state, rows, due_at, known_at, accepted_at, is_late, is_in_force,
    unloadable_because, blocked_because, confirmation
FROM retention.deliveries
WHERE CASE %(only)s WHEN 'corrected' THEN state = 'corrected' WHEN 'late' THEN is_late
    WHEN 'held' THEN blocked_because IS NOT NULL OR unloadable_because IS NOT NULL ELSE true END
ORDER BY delivery_id DESC LIMIT %(shown)s"""


@router.get("/data")
def data(request: Request, who: Viewer, only: str = "all") -> Response:
    """Show the months and their files."""
    if only not in CHOICES:
        raise NothingHereError("There is no such choice.", "Choose one of the list.")
    queries = database_of(request).queries
    months = choose(queries, None).every
    return page(
        request,
        "data.html",
        who=who,
        words=in_words(months),
        months=months,
        only=only,
        choices=CHOICES,
        shown=SHOWN,
        deliveries=queries.rows(DeliveryRow, _DELIVERIES, {"only": only, "shown": SHOWN}),
    )


def in_words(months: Sequence[MonthRow]) -> str:
    """Say in a sentence what is here and what is not."""
    if not months:
        return "No drop was accepted yet."
    first, last = months[-1], months[0]
    missing = [row for row in months if row.awaits_drop]
    span = f"{month_name(first.month)} to {month_name(last.month)}"
    here = f"{len(months) - len(missing)} months are here, {span}."
    if missing:
        names = ", ".join(month_name(row.month) for row in reversed(missing))
        here += f" Between them {names} {'is' if len(missing) == 1 else 'are'} missing."
    waiting = [row for row in months if row.awaits_labels and not row.awaits_drop]
    if waiting:
        here += f" The next labels are due on {day(waiting[-1].labels_due)}."
    return here
