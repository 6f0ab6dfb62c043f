"""One id for each request, and the log of a server: a line for each request, and every line with its id.

The id is taken from `X-Request-ID`, if that is one, and given back in the answer. It is known to whatever the
request's own task does. A line names the template of the route, never the path, in which a user may stand.
"""

import json
import logging
import re
import secrets
import time
from contextvars import ContextVar
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = b"x-request-id"
# What others may name a request: it goes into logs, and into a session's name in Postgres, which is short.
_WELL_FORMED = re.compile(rb"[A-Za-z0-9._-]{1,48}")
_UNMATCHED = "unmatched"
_REQUESTS = logging.getLogger("churn.requests")
# Those who log what we want to read at INFO; of libraries, warnings are enough.
_TOLD_MORE = ("api", "churn", "console", "uvicorn")
_request_id: ContextVar[str] = ContextVar("request_id", default="")


def request_id() -> str:
    """Return the id of the request that is being answered; empty outside of one."""
    return _request_id.get()


class RequestIds:
    """ASGI middleware that gives each request its id, and logs a line when it has been answered."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on under its id."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = _given_id(scope) or secrets.token_hex(16).encode()
        # It is not taken back: the request's task ends with it, and an error is answered outside of this.
        _request_id.set(given.decode())
        # The status of an error that nothing has turned into an answer.
        status = 500

        async def with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], (HEADER, given)]}
            await send(message)

        started = time.perf_counter()
        try:
            await self._app(scope, receive, with_id)
        finally:
            if _REQUESTS.isEnabledFor(logging.INFO):
                _log(scope, status, time.perf_counter() - started)


def _given_id(scope: Scope) -> bytes | None:
    for name, value in scope["headers"]:
        if name == HEADER:
            return value if _WELL_FORMED.fullmatch(value) else None
    return None


def route_of(scope: Scope) -> str:
    """Return the template of the route that answered a request, in which no user stands."""
    return str(getattr(scope.get("route"), "path_format", _UNMATCHED))


def _log(scope: Scope, status: int, seconds: float) -> None:
    fields = {
        "method": scope["method"][:16],
        "route": route_of(scope),
        "status": status,
        "ms": round(1000 * seconds, 2),
    }
    _REQUESTS.info("%(method)s %(route)s %(status)s in %(ms)s ms", fields)


class JsonLines(logging.Formatter):
    """Each record as one line of JSON, for what collects logs on a server."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if known := request_id():
            line["request_id"] = known
        if record.name == _REQUESTS.name and isinstance(record.args, dict):
            line |= record.args
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class TextLines(logging.Formatter):
    """Each record as a line for people, with the request's id at its end."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and a traceback below it where there is one."""
        known = request_id()
        text = f"{record.levelname}: {record.getMessage()}{f' [request {known}]' if known else ''}"
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        return f"{_time(record)} {text}"


def _time(record: logging.LogRecord) -> str:
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{moment}.{int(record.msecs):03d}Z"


def log_config(log_format: str) -> dict[str, Any]:
    """Return the configuration of a server's log, uvicorn's own lines included.

    Args:
        log_format: `json` with a line for each request, or `text` without: on one machine nobody counts them.
    """
    lines = JsonLines if log_format == "json" else TextLines
    requests = "INFO" if log_format == "json" else "WARNING"
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"lines": {"()": lines}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "lines"}},
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {
            # Uvicorn's own configuration keeps its lines to itself, wherever it was applied before.
            **{name: {"level": "INFO", "propagate": True} for name in _TOLD_MORE},
            _REQUESTS.name: {"level": requests},
        },
    }
