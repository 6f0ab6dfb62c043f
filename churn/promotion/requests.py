"""What people ask for on the console's page Trust, carried out by the pipeline as the commands would.

The console's role may write no decision and reach no model. It leaves a request, which a function of the
database signs with the person of a session that may ask; whoever runs the pipeline carries it out by the
functions of `by_hand`, and writes down how that ended. A request is carried out while the release that was
seen is still in force, and soon, or not at all: so one that was sent twice acts once.
"""

import datetime as dt
import logging
from dataclasses import dataclass
from typing import Literal

import psycopg
from psycopg.rows import class_row

from churn.database import connect, lock
from churn.errors import ChurnError
from churn.promotion import ledger
from churn.promotion.by_hand import promote, rollback
from churn.promotion.cards import write_missing_cards
from churn.promotion.decide import follow_ledger
from churn.promotion.entry import Entry, action_text
from churn.retry import is_passing

# What was asked for longer ago than this is no longer what anybody waits for.
LASTS = dt.timedelta(hours=1)
_LOCK = "churn.requests"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReleaseRequest:
    """One request of a person; `seen` is the release that was in force on their page, empty for none."""

    request_id: int
    what: Literal["promote", "rollback"]
    version: str
    seen: str
    reason: str
    person: str
    asked_at: dt.datetime


def carry_out_requests(*, now: dt.datetime) -> list[str]:
    """Carry out what was asked for and not yet done, the oldest first; return a sentence about each.

    What fails in passing, as where MLflow is being restarted, stays to be tried again until LASTS is over.
    """
    outcomes = []
    with connect() as connection:
        lock(connection, _LOCK)
        for request in _open_requests(connection):
            text, seq = _carry_out(request, now)
            outcomes.append(f"{request.what} asked for by {request.person}: {text}")
            state = "refused" if seq is None else "done"
            # The ledger has it by now, in a transaction of its own: see _entry_of.
            connection.execute(
                "UPDATE console.requests SET state = %s, answer = %s, seq = %s,"
                " ended_at = clock_timestamp() WHERE request_id = %s",
                [state, text, seq, request.request_id],
            )
    # Last, since what hinders a card must not keep a request open: the next one would have to wait for it.
    if outcomes:
        try:
            write_missing_cards()
        except Exception:
            _LOG.warning("a card is missing; the next decision writes it", exc_info=True)
    return outcomes


def _open_requests(connection: psycopg.Connection) -> list[ReleaseRequest]:
    with connection.cursor(row_factory=class_row(ReleaseRequest)) as cursor:
        return cursor.execute(
            "SELECT request_id, what, version, seen, reason, person, asked_at FROM console.requests"
            " WHERE state = 'asked' ORDER BY request_id"
        ).fetchall()


def _carry_out(request: ReleaseRequest, now: dt.datetime) -> tuple[str, int | None]:
    """Return what came of a request, and the number of its entry in the ledger; None where it was refused."""
    if (entry := _entry_of(request)) is None:
        if now - request.asked_at > LASTS:
            return "it was not carried out within an hour; ask again if it is still wanted", None
        try:
            entry = _act(request)
        except ChurnError as error:
            if is_passing(error):
                raise
            return str(error), None
    else:
        # Whoever wrote the entry may have been cut off before the release was served.
        follow_ledger()
    return action_text(entry), entry.seq


def _act(request: ReleaseRequest) -> Entry:
    told = {"reason": request.reason, "actor": request.person, "instead_of": request.seen}
    if request.what == "rollback":
        return rollback(**told)
    return promote(request.version, **told)


def _entry_of(request: ReleaseRequest) -> Entry | None:
    """Return the entry that this request has brought already, where its end was not written down."""
    return next(
        (
            entry
            for entry in ledger.entries()
            if (entry.actor, entry.reasons) == (request.person, (request.reason.strip(),))
            and not entry.is_decision
            and entry.recorded_at >= request.asked_at
        ),
        None,
    )
