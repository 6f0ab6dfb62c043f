"""Signing in by a link that works once, or by name and password; and signing out.

These routes stand before the session: who is let in, and how often somebody may try, is in `people.py`.
"""

import secrets

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from churn.settings import get_settings
from console.access import COOKIE, Viewer, check_form, database_of, form_token
from console.pages import page
from console.people import SESSION_TIME, end_session, one_at_a_time, sign_in, use_link

router = APIRouter()
_FORM_COOKIE = "churn_console_form"  # before there is a session, the form's token follows from this
_LINK_IS_SPENT = "This link was used before, or has expired. `churn console` prints a new one."
_WRONG = "Name and password do not belong together."


@router.get("/sign-in")
def form(request: Request, token: str = "", to: str = "/") -> Response:
    """Show the form; or, asked with a link's token, sign in by it."""
    problem = ""
    if token:
        with database_of(request).own() as connection:
            session = use_link(connection, token)
        if session:
            return _signed_in(request, session, to)
        problem = _LINK_IS_SPENT
    return _form(request, to, problem)


@router.post("/sign-in")
async def attempt(request: Request) -> Response:
    """Sign in by name and password."""
    await check_form(request, form_token(request.cookies.get(_FORM_COOKIE) or secrets.token_hex()))
    sent = await request.form()
    person, password, to = (
        str(sent.get(name, "")).encode(errors="replace").decode()
        for name in ("person", "password", "to")
    )

    def begin() -> str | None:
        with one_at_a_time(), database_of(request).own() as connection:
            return sign_in(connection, person, password)

    session = await run_in_threadpool(begin)
    return _signed_in(request, session, to) if session else _form(request, to, _WRONG, 403)


@router.post("/sign-out")
def sign_out(request: Request, who: Viewer) -> Response:
    """End the session."""
    with database_of(request).own() as connection:
        end_session(connection, request.cookies[COOKIE])
    answer = RedirectResponse("/sign-in", 303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="lax", secure=_is_https(request))
    return answer


def _form(request: Request, to: str, problem: str, status_code: int = 200) -> Response:
    secret = request.cookies.get(_FORM_COOKIE) or secrets.token_urlsafe(32)
    answer = page(
        request,
        "sign_in.html",
        status_code=status_code,
        token=form_token(secret),
        to=_own_path(to),
        problem=problem,
    )
    answer.set_cookie(
        _FORM_COOKIE, secret, httponly=True, samesite="lax", secure=_is_https(request)
    )
    return answer


def _signed_in(request: Request, session: str, to: str) -> Response:
    answer = RedirectResponse(_own_path(to), 303)
    answer.set_cookie(
        COOKIE,
        session,
        max_age=int(SESSION_TIME.total_seconds()),
        httponly=True,
        samesite="lax",
        secure=_is_https(request),
    )
    return answer


def _own_path(to: str) -> str:
    """Return where to go on, if it is a page of ours: nobody is led to another server."""
    is_ours = to.startswith("/") and not to.startswith(("//", "/\\")) and to.isprintable()
    return to if is_ours and "\\" not in to else "/"


def _is_https(request: Request) -> bool:
    """Say whether the browser came by https, to us or to the proxy in front."""
    return request.url.scheme == "https" or get_settings().console_url.startswith("https://")
