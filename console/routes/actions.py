"""Action list: whom to call this month, why, and what it should bring; export, and what was done."""

import datetime as dt
from collections.abc import Callable, Iterable
from typing import IO, Annotated
from urllib.parse import urlencode

import psycopg
from fastapi import APIRouter, Form, Query, Request, Response, UploadFile
from fastapi.responses import StreamingResponse
from pydantic import StringConstraints
from starlette.background import BackgroundTask

from churn.contract.in_force import VIEWS
from churn.deliveries.files import is_compressed
from churn.deliveries.problems import RefusedDrop
from churn.months import Month
from churn.scoring.treatments import (
    OUTCOMES,
    Loaded,
    Treatment,
    load_treatments,
    report_treatments,
    withdraw_treatments,
)
from churn.scoring.wording import name_of
from console.access import Caller, Viewer, database_of
from console.acts import Act, record
from console.errors import NothingHereError
from console.exports import csv_of, file_name, xlsx_of
from console.listed import SORTS, STATES, ListedUser, ListQuery, ShownList, levels_of, newest_listed
from console.pages import page
from console.roles import Person, Role

router = APIRouter()
PATH = "/actions"
CHANNELS = ("phone", "mail", "letter", "chat")  # offered; any other word may be written
Word = Annotated[str, Form(max_length=500), StringConstraints(strip_whitespace=True)]
_XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_SHOWN_BREACHES = 20
# What the form of the filters does not say itself goes with it unseen.
_IN_THE_FORM = frozenset(ListQuery.model_fields) - {"sort"}


@router.get(PATH)
def actions(request: Request, who: Viewer, asked: Annotated[ListQuery, Query()]) -> Response:
    """Show a part of a month's list."""
    queries = database_of(request).queries
    month, months = newest_listed(queries, asked.month)
    if month is None:
        return page(request, "actions.html", who=who, month=None)
    listed = ShownList(queries, month, asked)
    shown, totals = listed.page(), listed.totals()
    here = asked.kept(month=month)
    return page(
        request,
        "actions.html",
        who=who,
        may_report=who.may(Role.CALLER),
        asked=asked,
        month=month.first_day,
        months=months,
        levels=levels_of(queries, month),
        reasons=_reasons(),
        states=STATES,
        outcomes=OUTCOMES,
        outcome_choices=[(each, each) for each in OUTCOMES],
        channels=CHANNELS,
        first_day=month.next.first_day,
        last_day=month.matures_at.date(),
        shown=shown,
        totals=totals,
        here=urlencode(here),
        before=_address(here, before=shown.before),
        after=_address(here, after=shown.after),
        sorts={name: _address(here, sort=_turned(asked.sort, name)) for name in SORTS},
        hidden={name: value for name, value in here.items() if name not in _IN_THE_FORM},
    )


def _reasons() -> list[tuple[str, str]]:
    """Return every feature with what people call it, by that."""
    names = {feature.name: name_of(feature.name) for view in VIEWS for feature in view.features}
    return sorted(names.items(), key=lambda each: each[1])


def _address(here: dict[str, str], **more: str | None) -> str:
    """Return the page's address with another field; blank where it has no value."""
    if None in more.values():
        return ""
    return f"{PATH}?{urlencode({**here, **more})}"


def _turned(sort: str, name: str) -> str:
    """Return the order that a click on a column's head asks for: its own, and then turned round."""
    return f"-{name}" if sort == name else name


@router.get(f"{PATH}/export.csv")
def export_csv(request: Request, who: Caller, asked: Annotated[ListQuery, Query()]) -> Response:
    """Give what is shown as CSV."""
    return _exported(request, who, asked, "csv", csv_of, "text/csv")


@router.get(f"{PATH}/export.xlsx")
def export_xlsx(request: Request, who: Caller, asked: Annotated[ListQuery, Query()]) -> Response:
    """Give what is shown as a workbook."""
    return _exported(request, who, asked, "xlsx", xlsx_of, _XLSX)


def _exported(
    request: Request,
    who: Person,
    asked: ListQuery,
    suffix: str,
    write: Callable[[Month, Iterable[ListedUser]], IO[bytes]],
    media_type: str,
) -> Response:
    """Give what is shown as a file, once it is written down who takes it away.

    What it comes to and its rows are read in one transaction, which ends before the browser reads.
    """
    database = database_of(request)
    with database.queries.of_one_state() as queries:
        month, _ = newest_listed(queries, asked.month)
        if month is None:
            raise NothingHereError(
                "There is no action list yet.",
                "It is made when a month is closed and a release is in force.",
            )
        listed = ShownList(queries, month, asked)
        totals = listed.totals()
        file = write(month, listed.everything())
    with database.own() as connection:
        record(
            connection,
            Act.EXPORT,
            who.name,
            subject=str(month),
            file=suffix,
            filters=asked.kept(month=month),
            users=totals.users,
            list_hash=totals.list_hash,
        )
    return StreamingResponse(
        iter(lambda: file.read(1 << 16), b""),
        media_type=media_type,
        headers=_attachment(file_name(month, totals.list_hash, suffix)),
        background=BackgroundTask(file.close),
    )


def _attachment(name: str) -> dict[str, str]:
    return {"content-disposition": f'attachment; filename="{name}"'}


@router.post(f"{PATH}/calls")
def calls(
    request: Request,
    who: Caller,
    month: Annotated[str, Form()],
    treated_at: Annotated[dt.date, Form()],
    channel: Word,
    user: Annotated[list[str] | None, Form()] = None,
    offer: Word = "",
    outcome: Word = "",
    back: Annotated[str, Form(max_length=5_000)] = "",
) -> Response:
    """Take in what was done to the users that are ticked."""
    if not user:
        return _refused(request, who, "Nobody is ticked.", "Tick whom it was done to.", back)
    told = [Treatment(each, treated_at, channel, offer or None, outcome or None) for each in user]
    chosen = Month.parse(month)
    database = database_of(request)
    try:
        with database.own() as connection:
            loaded = report_treatments(chosen, told, actor=who.name, connection=connection)
            _write_down(connection, who, loaded)
    except RefusedDrop as refused:
        return _problems(request, who, refused, back)
    return _reported(request, who, loaded, back)


@router.post(f"{PATH}/withdrawals")
def withdrawals(
    request: Request,
    who: Caller,
    month: Annotated[str, Form()],
    user: Annotated[list[str] | None, Form()] = None,
    back: Annotated[str, Form(max_length=5_000)] = "",
) -> Response:
    """Take back what was reported of the users that are ticked."""
    if not user:
        return _refused(request, who, "Nobody is ticked.", "Tick whose report is wrong.", back)
    chosen = Month.parse(month)
    with database_of(request).own() as connection:
        users = [_storable(each) for each in user]
        withdrawn = withdraw_treatments(chosen, users, actor=who.name, connection=connection)
        record(
            connection, Act.CALLS_WITHDRAWN, who.name, subject=str(chosen), users=sorted(set(users))
        )
    return page(
        request,
        "withdrawn.html",
        who=who,
        withdrawn=withdrawn,
        month=chosen.first_day,
        back=_back(back, chosen),
    )


@router.post(f"{PATH}/file")
def file(request: Request, who: Caller, file: UploadFile) -> Response:
    """Take in a file of what was done, as `churn treatments` does."""
    name, content = _storable(file.filename or "the file"), file.file.read()
    if not content:
        return _refused(request, who, "There is no file.", "Choose one, then send it.", "")
    if is_compressed(content):
        remedy = "Unpack it, then send the CSV file itself."
        return _refused(request, who, "The file is compressed.", remedy, "")
    database = database_of(request)
    try:
        with database.own() as connection:
            loaded = load_treatments(content, name=name, actor=who.name, connection=connection)
            _write_down(connection, who, loaded, file=name)
    except RefusedDrop as refused:
        return _problems(request, who, refused, "")
    return _reported(request, who, loaded, "")


def _storable(text: str) -> str:
    """Return a text from a browser without what Postgres keeps in none: NUL, and halves of characters."""
    return text.replace("\0", "").encode(errors="replace").decode()


def _write_down(connection: psycopg.Connection, who: Person, loaded: Loaded, **more: str) -> None:
    record(
        connection,
        Act.CALLS_REPORTED,
        who.name,
        subject=str(loaded.month),
        new=loaded.new,
        changed=loaded.changed,
        unchanged=loaded.unchanged,
        breaches=list(loaded.breaches[:_SHOWN_BREACHES]),
        **more,
    )


def _reported(request: Request, who: Person, loaded: Loaded, back: str) -> Response:
    return page(
        request,
        "reported.html",
        who=who,
        loaded=loaded,
        month=loaded.month.first_day,
        matures=loaded.month.matures_at,
        breaches=loaded.breaches[:_SHOWN_BREACHES],
        back=_back(back, loaded.month),
    )


def _problems(request: Request, who: Person, refused: RefusedDrop, back: str) -> Response:
    return page(
        request,
        "refused.html",
        who=who,
        status_code=422,
        message="Nothing was taken in.",
        remedy="Correct what is named here, and send it again.",
        problems=refused.problems,
        back=_back(back),
    )


def _refused(request: Request, who: Person, message: str, remedy: str, back: str) -> Response:
    return page(
        request,
        "refused.html",
        who=who,
        status_code=422,
        message=message,
        remedy=remedy,
        problems=(),
        back=_back(back),
    )


def _back(query: str, month: Month | None = None) -> str:
    """Return where to go on: the list as it was looked at."""
    if not query and month is not None:
        query = urlencode({"month": str(month)})
    return f"{PATH}?{query}" if query else PATH
