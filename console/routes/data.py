"""Data: what came, was refused, late or corrected."""

import datetime as dt
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response

from console.access import Viewer, database_of
from console.pages import page

router = APIRouter()


@dataclass(frozen=True)
class Delivery:
    """One version of one file."""

    month: dt.date
    file: str
    rows: int
    accepted_at: dt.datetime


@router.get("/data")
def data(request: Request, who: Viewer) -> Response:
    """Show what was delivered."""
    deliveries = database_of(request).queries.rows(
        Delivery,
        "SELECT month, file, rows, accepted_at FROM raw.deliveries ORDER BY delivery_id DESC LIMIT 200",
    )
    return page(request, "data.html", who=who, deliveries=deliveries)
