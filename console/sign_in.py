"""Signing in by a link that works once, or by name and password; and signing out.

Opening a link changes nothing, so that whatever previews links (a chat, a mail filter) uses none up: its
token goes into a cookie and out of the address, and a button on the page that follows spends it.

These routes stand before the session: who is let in, and how often somebody may try, is in `people.py`.
"""

import re
import secrets
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData

from churn.settings import get_settings
from console.access import Viewer, check_form, cookie_name, database_of, form_token
from console.pages import page
from console.people import SESSION_TIME, end_session, one_at_a_time, sign_in, use_link

router = APIRouter()
_LINK_PATH = "/sign-in/link"
# What the cookies before a session are for: the form's token follows from one, the other holds a link's.
_FORM, _LINK = "form", "link"
_LINK_SECONDS = 600
# What may be a link's token, and can stand in a cookie as it is.
_TOKEN = re.compile(r"[\w-]{1,100}", re.ASCII)
_LINK_IS_SPENT = "This link was used before, or has expired. `churn console` prints a new one."
_WRONG = "Name and password do not belong together."


@router.get("/sign-in")
def form(request: Request, token: str = "", to: str = "/") -> Response:
    """Show the form; or, asked with a link's token, lead on to the page whose button uses it."""
    if not token:
        return _form(request, to, "")
    if not _TOKEN.fullmatch(token):
        return _form(request, to, _LINK_IS_SPENT, 403)
    # The address with the token was only ever redirected from, so the browser's history does not keep it.
    answer = RedirectResponse(f"{_LINK_PATH}?{urlencode({'to': _own_path(to)})}", 303)
    _set_cookie(request, answer, _LINK, token, max_age=_LINK_SECONDS)
    return answer


@router.get(_LINK_PATH)
def link(request: Request, to: str = "/") -> Response:
    """Show the button that signs in by the link that was opened."""
    if cookie_name(request, _LINK) not in request.cookies:
        return RedirectResponse(f"/sign-in?{urlencode({'to': _own_path(to)})}", 303)
    return _form(request, to, "", template="sign_in_link.html")


@router.post(_LINK_PATH)
async def spend(request: Request) -> Response:
    """Sign in by the link that was opened; it works once."""
    sent = await _checked_form(request)
    token, to = request.cookies.get(cookie_name(request, _LINK), ""), _text(sent, "to")

    def begin() -> str | None:
        with database_of(request).own() as connection:
            return use_link(connection, token)

    session = await run_in_threadpool(begin)
    answer = (
        _signed_in(request, session, to) if session else _form(request, to, _LINK_IS_SPENT, 403)
    )
    _delete_cookie(request, answer, _LINK)
    return answer


@router.post("/sign-in")
async def attempt(request: Request) -> Response:
    """Sign in by name and password."""
    sent = await _checked_form(request)
    person, password, to = (_text(sent, name) for name in ("person", "password", "to"))

    def begin() -> str | None:
        with one_at_a_time(), database_of(request).own() as connection:
            return sign_in(connection, person, password)

    session = await run_in_threadpool(begin)
    return _signed_in(request, session, to) if session else _form(request, to, _WRONG, 403)


@router.post("/sign-out")
def sign_out(request: Request, who: Viewer) -> Response:
    """End the session."""
    with database_of(request).own() as connection:
        end_session(connection, request.cookies[cookie_name(request)])
    answer = RedirectResponse("/sign-in", 303)
    _delete_cookie(request, answer)
    return answer


async def _checked_form(request: Request) -> FormData:
    """Return what was sent by a form that stands before the session.

    Raises:
        BadFormError: the form is not one of ours.
    """
    secret = request.cookies.get(cookie_name(request, _FORM)) or secrets.token_hex()
    await check_form(request, form_token(secret))
    return await request.form()


def _text(sent: FormData, name: str) -> str:
    return str(sent.get(name, "")).encode(errors="replace").decode()


def _form(
    request: Request,
    to: str,
    problem: str,
    status_code: int = 200,
    template: str = "sign_in.html",
) -> Response:
    secret = request.cookies.get(cookie_name(request, _FORM)) or secrets.token_urlsafe(32)
    answer = page(
        request,
        template,
        status_code=status_code,
        token=form_token(secret),
        to=_own_path(to),
        problem=problem,
    )
    _set_cookie(request, answer, _FORM, secret)
    return answer


def _signed_in(request: Request, session: str, to: str) -> Response:
    answer = RedirectResponse(_own_path(to), 303)
    _set_cookie(request, answer, "", session, max_age=int(SESSION_TIME.total_seconds()))
    return answer


def _set_cookie(
    request: Request, answer: Response, of: str, value: str, max_age: int | None = None
) -> None:
    name = cookie_name(request, of)
    answer.set_cookie(
        name, value, max_age=max_age, httponly=True, samesite="lax", secure=_is_https(request)
    )


def _delete_cookie(request: Request, answer: Response, of: str = "") -> None:
    name = cookie_name(request, of)
    answer.delete_cookie(name, httponly=True, samesite="lax", secure=_is_https(request))


def _own_path(to: str) -> str:
    """Return where to go on, if it is a page of ours: nobody is led to another server."""
    is_ours = to.startswith("/") and not to.startswith(("//", "/\\")) and to.isprintable()
    return to if is_ours and "\\" not in to else "/"


def _is_https(request: Request) -> bool:
    """Say whether the browser came by https, to us or to the proxy in front."""
    return request.url.scheme == "https" or get_settings().console_url.startswith("https://")
