"""What a person sees instead of a page, and the answers that turn into it."""

from http import HTTPStatus
from typing import ClassVar
from urllib.parse import quote

import psycopg
import psycopg_pool
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException

from churn.errors import ChurnError
from churn.http_log import request_id
from console.headers import HEADERS
from console.pages import page

# The database does not answer, or has no connection to give.
UNREACHABLE = (psycopg.OperationalError, psycopg_pool.PoolTimeout)


class ConsoleError(Exception):
    """An answer that is no page.

    Args:
        message: what happened, for a person.
        remedy: what they can do.
    """

    status: ClassVar[int] = 500

    def __init__(self, message: str, remedy: str = "") -> None:
        self.message, self.remedy = message, remedy
        super().__init__(message)


class SignInNeededError(ConsoleError):
    """Nobody is signed in: a page leads to the form, anything else is refused."""

    status = 401

    def __init__(self) -> None:
        super().__init__("You are not signed in, or your session has ended.", "Sign in again.")


class NotAllowedError(ConsoleError):
    """The person's role may not do this."""

    status = 403

    def __init__(self, role: str, own: str) -> None:
        super().__init__(
            f"This needs the role {role}; yours is {own}.",
            "An administrator gives roles with `churn person add`.",
        )


class BadFormError(ConsoleError):
    """The form is not one of ours, or of a session that has ended."""

    status = 403

    def __init__(self) -> None:
        super().__init__(
            "This form has expired.", "Go back, load the page again, and send it once more."
        )


class NothingHereError(ConsoleError):
    """There is no such month, user or page."""

    status = 404


class BadAddressError(ConsoleError):
    """What the address asks for cannot be read: it was cut, or changed by hand."""

    status = 422

    def __init__(self) -> None:
        super().__init__(
            "This address is not one of ours.", "Go back to the beginning of the list."
        )


class TooManyAttemptsError(ConsoleError):
    """Somebody may be guessing a password."""

    status = 429


class BodyTooLargeError(ConsoleError):
    """More is sent than the page takes."""

    status = 413

    def __init__(self, max_bytes: int) -> None:
        super().__init__(
            f"What was sent is longer than {max_bytes:,} bytes.", "Send less at a time."
        )


def install_handlers(app: FastAPI) -> None:
    """Show every error as a page that says what happened and what to do."""
    app.add_exception_handler(ConsoleError, _console_error)
    app.add_exception_handler(ChurnError, _churn_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    for unreachable in UNREACHABLE:
        app.add_exception_handler(unreachable, _unreachable)
    app.add_exception_handler(psycopg.errors.QueryCanceled, _too_slow)
    app.add_exception_handler(Exception, _unexpected)


def _shown(request: Request, status: int, message: str, remedy: str = "") -> Response:
    return page(
        request,
        "error.html",
        status_code=status,
        title=HTTPStatus(status).phrase,
        message=message,
        remedy=remedy,
    )


def answer_to(request: Request, error: Exception) -> Response:
    """Return the answer to an error that is noticed before the application is asked."""
    if isinstance(error, ConsoleError):
        return _shown(request, error.status, error.message, error.remedy)
    return _shown_unreachable(request)


async def _console_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ConsoleError)  # noqa: S101  (registered for this class)
    if isinstance(error, SignInNeededError) and request.method == "GET":
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/sign-in?to={quote(path, safe='')}", 303)
    return _shown(request, error.status, error.message, error.remedy)


async def _churn_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ChurnError)  # noqa: S101
    return _shown(request, 422, error.what, error.remedy)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    first = error.errors()[0]
    where = ".".join(str(part)[:100] for part in first["loc"][1:])
    return _shown(request, 422, f"{where}: {first['msg']}", "Correct the address or the form.")


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    if error.status_code == 404:
        return _shown(
            request, 404, "There is no such page.", "The menu leads to those that there are."
        )
    return _shown(request, error.status_code, str(error.detail))


async def _unreachable(request: Request, error: Exception) -> Response:
    return _shown_unreachable(request)


def _shown_unreachable(request: Request) -> Response:
    return _shown(
        request,
        503,
        "The database does not answer.",
        "Try again in a moment; `churn status` says which part of the stack is not well.",
    )


async def _too_slow(request: Request, error: Exception) -> Response:
    return _shown(
        request, 503, "The answer took too long.", "Narrow what you ask for and try again."
    )


async def _unexpected(request: Request, error: Exception) -> Response:
    answer = _shown(
        request,
        500,
        "Something went wrong that nobody foresaw.",
        f"The console's log says what, in the lines of request {request_id()}.",
    )
    answer.headers["x-request-id"] = request_id()
    answer.headers.update(HEADERS)  # the framework answers this one outside of all middleware
    return answer
