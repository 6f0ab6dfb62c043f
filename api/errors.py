"""The errors a client sees: one JSON shape, `{"error": {"code", "message", "detail"}}`, for every status."""

import datetime as dt
import http
from typing import Any, ClassVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from churn.http_guard import BODY_TOO_LARGE
from churn.http_log import request_id

_CODES = {404: "not_found", 405: "method_not_allowed", 413: BODY_TOO_LARGE}
_SHOWN_PROBLEMS = 20
# A client may make up keys of any length.
_SHOWN_CHARACTERS = 100


class ApiError(Exception):
    """An answer other than a 200; each subclass is one code that clients may rely on.

    Args:
        message: a sentence for people.
        detail: the same facts for programs.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, **detail: Any) -> None:
        self.message, self.detail = message, detail
        super().__init__(message)

    @property
    def body(self) -> dict[str, Any]:
        """The `error` object of the answer."""
        return error_body(self.code, self.message, self.detail)


class UnknownUserError(ApiError):
    """No published month has ever named this user."""

    status, code = 404, "unknown_user"

    def __init__(self, user_id: str) -> None:
        super().__init__(f"no published month names user {user_id}", user_id=user_id)


class NoUserNamedError(ApiError):
    """The path ends before the user id."""

    status, code = 404, "not_found"

    def __init__(self) -> None:
        super().__init__("no user is named: ask for /features/{user_id}, the id percent-encoded")


class NotCurrentError(ApiError):
    """The user is not in the newest published month."""

    status, code = 409, "not_current"

    def __init__(self, user_id: str, last: dt.date, newest: dt.date) -> None:
        super().__init__(
            f"user {user_id} has left since {last} (or is missing from the drops):"
            f" not in the newest published month, {newest}",
            user_id=user_id,
            as_of=last.isoformat(),
            since=last.isoformat(),
            newest_as_of=newest.isoformat(),
            current=False,
        )


class MissingFeaturesError(ApiError):
    """Feature views that the model needs have no row for this user."""

    status, code = 422, "missing_features"

    def __init__(self, user_id: str, views: list[str], as_of: dt.date) -> None:
        super().__init__(
            f"no row for user {user_id} in {', '.join(views)} as of {as_of}",
            user_id=user_id,
            missing_views=views,
            as_of=as_of.isoformat(),
        )


class BadValueError(ApiError):
    """Values that were set by hand and that no file could deliver; `faults` says of each feature why."""

    status, code = 422, "bad_value"

    def __init__(self, faults: dict[str, str]) -> None:
        shown = dict(list(faults.items())[:_SHOWN_PROBLEMS])
        super().__init__("; ".join(f"{name}: {why}" for name, why in shown.items()), faults=shown)


class NoExplainerError(ApiError):
    """The champion is a baseline, promoted by hand, which has no explainer."""

    status, code = 409, "no_explainer"

    def __init__(self, version: str) -> None:
        super().__init__(
            f"version {version} carries no explainer: it is a baseline, promoted by hand;"
            " a version that the gate promoted has one",
            model_version=version,
        )


class NotReadyError(ApiError):
    """The feature store or the model cannot answer now; trying again later may work."""

    status, code = 503, "not_ready"

    def __init__(self, part: str, reason: str) -> None:
        super().__init__(f"the {part} is not ready: {reason}", part=part, reason=reason)


class OverloadedError(ApiError):
    """More requests wait than can be answered soon; trying again later may work."""

    status, code = 503, "overloaded"

    def __init__(self, waiting: int) -> None:
        super().__init__(f"{waiting} requests are waiting already", waiting=waiting)


class NoKeyError(ApiError):
    """The request carries no key, or one that is not let in."""

    status, code = 401, "unauthorized"

    def __init__(self) -> None:
        super().__init__(
            "this API asks for a key that it knows: send `Authorization: Bearer KEY`;"
            " `churn key add` makes one"
        )


class ScopeError(ApiError):
    """The key is for other things."""

    status, code = 403, "not_in_scope"

    def __init__(self, needed: str, scopes: list[str]) -> None:
        super().__init__(
            f"this key is not for {needed}, but for {', '.join(scopes)}",
            needed=needed,
            scopes=scopes,
        )


class TooManyRequestsError(ApiError):
    """The caller asks more often than is agreed on."""

    status, code = 429, "too_many_requests"

    def __init__(self, per_minute: int, seconds: int) -> None:
        super().__init__(
            f"more than {per_minute} requests a minute; try again in {seconds} s",
            per_minute=per_minute,
            retry_after=seconds,
        )


class TooLateError(ApiError):
    """The answer took longer than anybody should wait for it."""

    status, code = 504, "answer_timeout"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"there was no answer within {seconds:g} s; try again", seconds=seconds)


def error_body(code: str, message: str, detail: Any = None) -> dict[str, Any]:
    """Return the `error` object of an answer."""
    return {"code": code, "message": message, "detail": detail}


def install_handlers(app: FastAPI) -> None:
    """Give every error of `app` the one shape, including those of the framework."""
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _internal_error)


def _answer(status: int, body: dict[str, Any], headers: Any = None) -> JSONResponse:
    return JSONResponse({"error": body}, status, headers)


async def _api_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)  # noqa: S101  (registered for this class)
    return _answer(error.status, error.body)


async def _invalid_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    # `input` and `ctx` are left out, since what was sent may be large, private, or not even encodable.
    problems = [
        {"loc": [_shown(part) for part in e["loc"]], "msg": e["msg"], "type": e["type"]}
        for e in error.errors()[:_SHOWN_PROBLEMS]
    ]
    first = problems[0]
    where = ".".join(str(part) for part in first["loc"])
    return _answer(422, error_body("invalid_request", f"{where}: {first['msg']}", problems))


def _shown(part: int | str) -> int | str:
    if isinstance(part, int):
        return part
    return part[:_SHOWN_CHARACTERS].encode("utf-8", "backslashreplace").decode()


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101
    code = _CODES.get(error.status_code, http.HTTPStatus(error.status_code).phrase.lower())
    body = error_body(code.replace(" ", "_"), str(error.detail))
    return _answer(error.status_code, body, error.headers)


async def _internal_error(request: Request, error: Exception) -> JSONResponse:
    body = error_body(
        "internal_error",
        "unexpected error; the log has the details",
        {"request_id": request_id()},
    )
    # The framework answers this one outside of all middleware.
    return _answer(500, body, {"x-request-id": request_id()})
