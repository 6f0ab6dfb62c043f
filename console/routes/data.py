"""Data: what came, was late or corrected, and what blocks a month."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, LiteralString

from fastapi import APIRouter, Form, Request, Response, UploadFile
from fastapi.responses import RedirectResponse
from psycopg.rows import class_row

from churn.contract.in_force import CONTRACT
from churn.deliveries.drop_files import expected_files
from churn.deliveries.patterns import shown
from churn.settings import get_settings
from console.access import Administrator, Viewer, database_of
from console.acts import Act, record
from console.errors import NothingHereError
from console.months import MonthRow, choose
from console.pages import day, month_name, page
from console.queries import Row
from console.roles import Role
from console.uploads import SentFile, keep_drop

router = APIRouter()
SHOWN = 200
SHOWN_DROPS = 10

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


@dataclass(frozen=True)
class SentDrop:
    """A drop that somebody sent, and what came of it; `state` is None until the pipeline has looked at it."""

    name: str
    person: str
    sent_at: dt.datetime
    state: str | None
    report: str | None


_SENT: LiteralString = """
SELECT a.subject AS name, a.person, a.recorded_at AS sent_at, o.state, o.report
FROM console.acts AS a LEFT JOIN LATERAL (
    SELECT state, report FROM console.drop_outcomes
    WHERE name = a.subject AND recorded_at >= a.recorded_at ORDER BY outcome_id DESC LIMIT 1) AS o ON true
WHERE a.act = %s ORDER BY a.act_id DESC LIMIT %s"""


@dataclass(frozen=True)
class NotTakenDrop:
    """A drop that was not taken in, and why."""

    name: str
    state: str
    report: str
    recorded_at: dt.datetime


_NOT_TAKEN: LiteralString = """
SELECT name, state, report, recorded_at FROM console.drop_outcomes
WHERE state IN ('refused', 'waits') ORDER BY outcome_id DESC LIMIT %s"""


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
        sent=_own_rows(request, SentDrop, _SENT, [str(Act.DROP_SENT), SHOWN_DROPS]),
        not_taken=_own_rows(request, NotTakenDrop, _NOT_TAKEN, [SHOWN_DROPS]),
        may_send=who.may(Role.ADMINISTRATOR),
        folder=shown(CONTRACT.drop_folder),
        files=expected_files(),
    )


@router.post("/data/drops")
def send_drop(
    request: Request,
    who: Administrator,
    name: Annotated[str, Form(max_length=200)],
    files: list[UploadFile],
    replace: Annotated[bool, Form()] = False,
) -> Response:
    """Put a drop into the watched folder, from where the pipeline takes it in as any other."""
    sent = [SentFile(each.filename or "", each.file) for each in files if each.filename]
    name = name.strip()
    # Written down first, and only if it is put there: what comes of it comes later.
    with database_of(request).own() as connection:
        record(connection, Act.DROP_SENT, who.name, subject=name, files=len(sent))
        keep_drop(sent, name, get_settings(), may_replace=replace)
    return RedirectResponse("/data#sent", 303)


def _own_rows(
    request: Request, kind: type[Row], query: LiteralString, parameters: list[Any]
) -> list[Row]:
    """Return rows of the console's own tables."""
    with (
        database_of(request).own() as connection,
        connection.cursor(row_factory=class_row(kind)) as cursor,
    ):
        return cursor.execute(query, parameters).fetchall()


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
