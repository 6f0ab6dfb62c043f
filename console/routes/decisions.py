"""Deciding on releases: a page to confirm on, with the reason, and what came of what was asked for.

Nothing is decided here: a request is left for the pipeline, which does what the commands do
(`churn.promotion.requests`).
"""

import datetime as dt
from dataclasses import dataclass
from typing import Annotated, Any, LiteralString

import psycopg
from fastapi import APIRouter, Form, Path, Request, Response
from fastapi.responses import RedirectResponse
from psycopg.rows import class_row
from pydantic import StringConstraints

from churn.months import Month
from churn.promotion.entry import Entry, releases_until
from console.access import Approver, Viewer, cookie_name, database_of, hashed
from console.acts import Act, record
from console.errors import ConsoleError, NothingHereError
from console.pages import page
from console.queries import Queries
from console.roles import Person
from console.routes.month import in_force

router = APIRouter()
SHOWN = 10
_VERSION = r"^[0-9]{1,9}$"
Version = Annotated[str, StringConstraints(strip_whitespace=True, pattern=_VERSION)]
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1_000)]


class RequestWaitsError(ConsoleError):
    """One thing is asked for at a time."""

    status = 409


@dataclass(frozen=True)
class JudgedRelease:
    """A release that the ledger names and that is not in force, with what was decided on it last."""

    release_id: str
    version: str
    candidate: str
    service: str
    trained_on: dt.date
    seq: int
    kind: str
    month: dt.date | None
    outcome: str
    reasons: str | None


_CANDIDATES: LiteralString = """
SELECT release_id, version, candidate, service, trained_on, seq, kind, month, outcome, reasons
FROM (SELECT DISTINCT ON (challenger_id) challenger_id AS release_id, figures ->> 'version' AS version,
        figures ->> 'candidate' AS candidate, figures ->> 'service' AS service,
        (figures ->> 'as_of')::date AS trained_on, seq, kind, month, outcome, reasons
    FROM retention.decisions,
        coalesce(nullif(evidence -> 'challenger', 'null'), evidence -> 'release') AS figures
    WHERE challenger_id IS NOT NULL AND figures ->> 'version' IS NOT NULL
    ORDER BY challenger_id, seq DESC) AS newest
ORDER BY seq DESC"""


@dataclass(frozen=True)
class RequestRow:
    """What somebody asked for, and what came of it."""

    request_id: int
    what: str
    version: str
    reason: str
    person: str
    asked_at: dt.datetime
    state: str
    answer: str
    seq: int | None
    ended_at: dt.datetime | None


_REQUESTS: LiteralString = """
SELECT request_id, what, version, reason, person, asked_at, state, answer, seq, ended_at
FROM console.requests WHERE %(one)s::bigint IS NULL OR request_id = %(one)s
ORDER BY request_id DESC LIMIT %(shown)s"""


def candidates(queries: Queries) -> list[JudgedRelease]:
    """Return the releases that were judged or chosen and are not in force, the newest decision first."""
    serving = in_force(queries)
    every = queries.rows(JudgedRelease, _CANDIDATES)
    return [each for each in every if serving is None or each.release_id != serving.release_id]


def newest_requests(request: Request) -> list[RequestRow]:
    """Return what was asked for lately, the newest first."""
    return _requests(request, None)


@router.get("/trust/promote")
def confirm_promotion(request: Request, who: Approver, version: Version) -> Response:
    """Show what promoting a version would do, and ask for the reason."""
    queries = database_of(request).queries
    chosen = next((each for each in candidates(queries) if each.version == version), None)
    return _confirm(request, who, "promote", version=version, chosen=chosen)


@router.get("/trust/rollback")
def confirm_rollback(request: Request, who: Approver) -> Response:
    """Show what rolling back would do, and ask for the reason."""
    queries = database_of(request).queries
    before = _release_before(queries)
    if before is None:
        raise NothingHereError(
            "There is no release to go back to.", "A version of the list can be promoted instead."
        )
    chosen = next((each for each in candidates(queries) if each.release_id == before), None)
    return _confirm(request, who, "rollback", version="", chosen=chosen, before=before)


@router.post("/trust/promote")
def ask_promotion(
    request: Request,
    who: Approver,
    version: Annotated[Version, Form()],
    reason: Annotated[Reason, Form()],
    seen: Annotated[str, Form(max_length=64)] = "",
) -> Response:
    """Ask the pipeline to promote a version."""
    return _ask(request, who.name, "promote", version, seen, reason)


@router.post("/trust/rollback")
def ask_rollback(
    request: Request,
    who: Approver,
    reason: Annotated[Reason, Form()],
    seen: Annotated[str, Form(max_length=64)] = "",
) -> Response:
    """Ask the pipeline to go back to the release before."""
    return _ask(request, who.name, "rollback", "", seen, reason)


@router.get("/trust/requests/{request_id}")
def request_page(
    request: Request, who: Viewer, request_id: Annotated[int, Path(ge=1, le=2**31)]
) -> Response:
    """Show what came of a request; the page asks again by itself while nothing has."""
    rows = _requests(request, request_id)
    if not rows:
        raise NothingHereError("There is no such request.", "Trust lists the newest ones.")
    return page(request, "request.html", who=who, row=rows[0])


def _confirm(request: Request, who: Person, what: str, **values: Any) -> Response:
    serving = in_force(database_of(request).queries)
    return page(
        request, "decide.html", who=who, what=what, in_force=serving, **{"before": None, **values}
    )


def _ask(
    request: Request, person: str, what: str, version: str, seen: str, reason: str
) -> Response:
    reason, seen = (text.replace("\0", "") for text in (reason, seen))
    session = hashed(request.cookies[cookie_name(request)])
    try:
        with database_of(request).own() as connection:
            row = connection.execute(
                "SELECT console.ask(%s, %s, %s, %s, %s)", [session, what, version, seen, reason]
            ).fetchone()
            assert row is not None  # noqa: S101  (a function always returns a row)
            asked = row[0]
            record(
                connection,
                Act.RELEASE_ASKED,
                person,
                subject=f"{what} {version}".strip(),
                reason=reason,
                request=asked,
            )
    except psycopg.errors.UniqueViolation:
        raise RequestWaitsError(
            "Something else was asked for and is still to be carried out.",
            "See on Trust what came of it, then decide again.",
        ) from None
    return RedirectResponse(f"/trust/requests/{asked}", 303)


def _requests(request: Request, one: int | None) -> list[RequestRow]:
    with (
        database_of(request).own() as connection,
        connection.cursor(row_factory=class_row(RequestRow)) as cursor,
    ):
        return cursor.execute(_REQUESTS, {"one": one, "shown": SHOWN}).fetchall()


@dataclass(frozen=True)
class _StandingEntry:
    """What decides which release a rollback restores."""

    seq: int
    kind: str
    outcome: str
    decided_for: dt.datetime
    month: dt.date | None
    release_id: str | None


def _release_before(queries: Queries) -> str | None:
    """Return the release that a rollback restores, as the command works it out; None where there is none."""
    rows = queries.rows(
        _StandingEntry,
        "SELECT seq, kind, outcome, decided_for, month, release_id FROM retention.decisions"
        " WHERE is_standing",
    )
    stack = releases_until(_entry(row) for row in rows)
    return stack[-2] if len(stack) > 1 else None


def _entry(row: _StandingEntry) -> Entry:
    return Entry(
        kind=row.kind,  # type: ignore[arg-type]
        outcome=row.outcome,  # type: ignore[arg-type]
        decided_for=row.decided_for,
        month=Month(row.month) if row.month else None,
        champion=None,
        challenger=None,
        release_id=row.release_id,
        reasons=(),
        actor="",
        seq=row.seq,
    )
