"""The door of the API: whose key is let in to which routes, how often, and how long an answer may take.

What a request must be to come as far as this, its names, origin and size, is `churn.http_guard`. What is
refused here never reaches a route: a path that is not listed needs a key like any other.
"""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import orjson
from fastapi import FastAPI, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import (
    ApiError,
    NoKeyError,
    NotReadyError,
    ScopeError,
    TooLateError,
    TooManyRequestsError,
)
from api.keys import KnownKey
from api.schemas import ErrorAnswer
from churn import api_keys
from churn.settings import get_settings

# By the first part of the path; None: any key will do.
NEEDED: dict[str, api_keys.Scope | None] = {
    "features": api_keys.Scope.FEATURES,
    "predict": api_keys.Scope.PREDICT,
    "explain": api_keys.Scope.EXPLAIN,
    "metrics": api_keys.Scope.METRICS,
}
# They say that the process lives and how it is to be asked; that is no secret, and a probe has no key.
OPEN = frozenset({"/health/live", "/docs", "/openapi.json"})
# These are open, too, and say why something is not well only to those who have a key.
WITHOUT_DETAILS = frozenset({"/health", "/health/ready"})
# Longer than a request may take to arrive, after which it is refused anyway.
ANSWER_SECONDS = 30.0
_MOST_CALLERS = 10_000
_SEES_DETAILS = "sees_details"
_SCHEME = "key"


def needed_of(path: str) -> api_keys.Scope | None:
    """Return the scope that a key must have for a path that is not open; None: any key will do."""
    return NEEDED.get(path.split("/", 2)[1] if path.startswith("/") else "")


def is_open(path: str) -> bool:
    """Return whether a path is for everybody."""
    return path in OPEN or path.startswith("/docs/")


def sees_details(request: Request) -> bool:
    """Return whether whoever asks for the health may know why something is not well."""
    return bool(getattr(request.state, _SEES_DETAILS, True))


class RateLimit:
    """A bucket for each caller, which holds as many requests as may come in a minute, and fills at that rate.

    A caller who has been quiet may ask so often at once. Of the callers that are not full, the ones who
    asked last are remembered.
    """

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._seconds_each = 60 / per_minute
        # When a caller's bucket will be full again.
        self._full_at: OrderedDict[str, float] = OrderedDict()

    @classmethod
    def from_settings(cls) -> "RateLimit | None":
        """Return the limit of the settings; None where there is none."""
        per_minute = get_settings().api_per_minute
        return cls(per_minute) if per_minute else None

    def take(self, caller: str, now: float) -> float:
        """Take one request out of the caller's bucket; return how many seconds that is too early."""
        full_at = max(self._full_at.pop(caller, now), now) + self._seconds_each
        lacking = full_at - now - 60
        # A refused request takes nothing out. A sum of seconds is a little inexact.
        refused = lacking > self._seconds_each / 1_000
        self._full_at[caller] = full_at - self._seconds_each if refused else full_at
        if len(self._full_at) > _MOST_CALLERS:
            self._full_at.popitem(last=False)
        return lacking if refused else 0.0


class Door:
    """ASGI middleware that lets requests in by key and rate, and gives each an answer in time.

    Args:
        app: the application behind the door.
        make_limit: called once, when the server starts.
    """

    answer_seconds = ANSWER_SECONDS

    def __init__(
        self,
        app: ASGIApp,
        *,
        make_limit: Callable[[], RateLimit | None] = lambda: None,
    ) -> None:
        self._app, self._limit = app, make_limit()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._refuse(scope)
        except ApiError as error:
            await _answer(error, send)
        else:
            await self._answer_in_time(scope, receive, send)

    def _refuse(self, scope: Scope) -> None:
        """Raise an ApiError where the request is not to be let in."""
        path = scope["path"]
        if is_open(path):
            return
        key, refusal = self._key_of(scope)
        if self._limit is not None:
            caller = f"key {key.name}" if key else f"address {(scope['client'] or ('',))[0]}"
            if lacking := self._limit.take(caller, time.monotonic()):
                raise TooManyRequestsError(self._limit.per_minute, math.ceil(lacking))
        if path in WITHOUT_DETAILS:
            scope.setdefault("state", {})[_SEES_DETAILS] = refusal is None
        elif refusal is not None:
            raise refusal
        elif key is not None:
            key.refuse_unless(needed_of(path))

    def _key_of(self, scope: Scope) -> tuple[KnownKey | None, ApiError | None]:
        """Return the request's key, or why it has none; neither, where none is asked for."""
        ring = scope["app"].state.parts.keys
        if ring is None:
            return None, None
        header = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        try:
            return ring.known(header), None
        except (NoKeyError, NotReadyError) as error:
            return None, error

    async def _answer_in_time(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and answer in the application's stead where that takes too long.

        What computes in a thread meanwhile ends by itself, and nobody hears it.
        """
        has_begun = False

        async def noting(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            async with asyncio.timeout(self.answer_seconds) as limit:
                await self._app(scope, receive, noting)
        except TimeoutError:
            if has_begun or not limit.expired():
                raise
            await _answer(TooLateError(self.answer_seconds), send)


async def _answer(error: ApiError, send: Send) -> None:
    body = orjson.dumps({"error": error.body})
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if isinstance(error, NoKeyError):
        headers.append((b"www-authenticate", b"Bearer"))
    if isinstance(error, TooManyRequestsError):
        headers.append((b"retry-after", b"%d" % error.detail["retry_after"]))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


_REFUSALS: dict[type[ApiError], str] = {
    NoKeyError: "no key that is known was sent; where CHURN_API_KEYS=required",
    ScopeError: "the key is for other routes",
    TooManyRequestsError: "too many requests a minute; Retry-After says how long to wait",
    TooLateError: f"there was no answer within {ANSWER_SECONDS:g} s",
}


def document_door(app: FastAPI) -> None:
    """Let the OpenAPI document say which key a route needs, and how the door refuses."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        document = make()
        components = document.setdefault("components", {})
        if "securitySchemes" not in components:
            components["securitySchemes"] = {
                _SCHEME: {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A key of `churn key add`, for one or more of "
                    f"{', '.join(api_keys.Scope)}. Where CHURN_API_KEYS is off, as it is on one's own"
                    " machine, none is asked for.",
                }
            }
            for path, item in document["paths"].items():
                for operation in item.values():
                    _document(path, operation)
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _document(path: str, operation: dict[str, Any]) -> None:
    refusals = dict(_REFUSALS)
    if is_open(path):
        operation["security"] = []
        refusals = {TooLateError: refusals[TooLateError]}
    elif path in WITHOUT_DETAILS:
        operation["security"] = [{}, {_SCHEME: []}]
        del refusals[NoKeyError], refusals[ScopeError]
    else:
        needed = needed_of(path)
        operation["security"] = [{_SCHEME: [str(needed)] if needed else []}]
    model = {"schema": {"$ref": f"#/components/schemas/{ErrorAnswer.__name__}"}}
    for error, meaning in refusals.items():
        operation["responses"].setdefault(
            str(error.status),
            {
                "description": f"{error.code}: {meaning}",
                "content": {"application/json": model},
            },
        )
