"""Data: what came, was late or corrected, and what blocks a month."""

import datetime as dt
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response

from console.access import Viewer, database_of
from console.pages import page

router = APIRouter()
SHOWN = 200


@dataclass(frozen=True)
class Delivery:
    """One version of one file."""

    month: dt.date
    file: str
    version: int
    rows: int
    accepted_at: dt.datetime
    known_at: dt.datetime
    due_at: dt.datetime
    is_late: bool
    is_in_force: bool
    unloadable_because: str | None
    blocked_because: str | None
    confirmation: str | None


@router.get("/data")
def data(request: Request, who: Viewer) -> Response:
    """Show what was delivered."""
    deliveries = database_of(request).queries.rows(
        Delivery,
        "SELECT month, file, version, rows, accepted_at, known_at, due_at, is_late, is_in_force,"
        " unloadable_because, blocked_because, confirmation"
        " FROM retention.deliveries ORDER BY delivery_id DESC LIMIT %s",
        [SHOWN],
    )
    return page(request, "data.html", who=who, deliveries=deliveries)
