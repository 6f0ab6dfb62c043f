"""What stands between a port of ours and the application behind it: names, origins and limits.

A port on the loopback can be reached by every web page that a person opens on this machine, since the
browser sends its requests. `Guard` is ASGI middleware that lets a request through if it is addressed to one
of our own names and comes from a page of ours, or from no page at all. `BoundedProtocol` is uvicorn's HTTP
protocol with limits: a request whose headers never end, or that is never completed, is answered and closed.
"""

import asyncio
import functools
import json
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
MAX_HEADER_BYTES = 32 * 1024
MAX_UNFINISHED_HEADER_BYTES = 2 * MAX_HEADER_BYTES
# From the first byte of a request to its last.
REQUEST_SECONDS = 20.0
# The application uses this code, too, for a body that did not state its length.
BODY_TOO_LARGE = "body_too_large"
# How long a stopping server waits for requests that are under way.
SHUTDOWN_SECONDS = 5
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_WATCHED = frozenset(
    {
        b"host",
        b"origin",
        b"content-type",
        b"content-length",
        b"sec-fetch-site",
        b"sec-fetch-mode",
        b"sec-fetch-dest",
    }
)


@dataclass(frozen=True)
class HttpRefusal:
    """An answer that is given without asking the application."""

    status: HTTPStatus
    # The code of the API's errors, for programs.
    code: str
    message: str

    @property
    def body(self) -> bytes:
        """The answer as JSON."""
        error = {"code": self.code, "message": self.message, "detail": None}
        return json.dumps({"error": error}).encode()


_TOO_LONG = HttpRefusal(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "headers_too_large",
    f"the request's headers are longer than {MAX_HEADER_BYTES:,} bytes",
)
_TOO_SLOW = HttpRefusal(
    HTTPStatus.REQUEST_TIMEOUT,
    "request_timeout",
    "the request did not arrive to its end in time; send it again",
)
JSON_ONLY = frozenset({"application/json"})
_OTHER_PAGE = HttpRefusal(
    HTTPStatus.FORBIDDEN,
    "other_origin",
    "the request comes from a page of another origin; ask from a page of this server, or from no page",
)


def host_names(text: str) -> frozenset[str]:
    """Return the names of a comma-separated list."""
    return frozenset(name.strip().lower() for name in text.split(",") if name.strip())


# The same few names are asked for again and again.
@functools.lru_cache(256)
def name_of(url: str) -> str:
    """Return the host name in a URL; empty where there is none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        # A bracket is not closed.
        return ""


class Guard:
    """ASGI middleware that refuses what none of our own clients would send.

    Args:
        app: the application to guard.
        names: called once, when the server starts; returns the host names that it answers to, besides those
            of the loopback. A page whose origin has one of these names counts as ours, since a proxy in
            front may have changed the Host header.
        setting: the environment variable that adds a name, for the message.
        max_body_bytes: the largest body of a request.
        content_types: those that a body may have. A form of another page cannot send JSON; an application
            that takes forms has to tell its own from those of others.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        names: Callable[[], Iterable[str]],
        setting: str,
        max_body_bytes: int,
        content_types: Collection[str] = JSON_ONLY,
    ) -> None:
        self._app, self._max_body_bytes = app, max_body_bytes
        self._content_types = frozenset(name.encode() for name in content_types)
        self._names = frozenset(name.lower() for name in names() if name)
        self._hosts = self._names | LOOPBACK_NAMES
        self._other_host = HttpRefusal(
            HTTPStatus.MISDIRECTED_REQUEST,
            "unknown_host",
            f"this server does not answer to the name in the Host header; {setting} adds names",
        )
        self._other_type = HttpRefusal(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            f"the body must be sent as content-type: {' or '.join(sorted(content_types))}",
        )
        self._too_large = HttpRefusal(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            BODY_TOO_LARGE,
            f"the body is longer than {max_body_bytes:,} bytes",
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is None:
            if scope["type"] == "http" and scope["method"] not in _READING:
                receive = self._counted(receive)
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": refusal.message})
        else:
            await _answer(refusal, send)

    def _refusal(self, scope: Scope) -> HttpRefusal | None:
        size, headers = 0, {}
        for name, value in scope["headers"]:
            size += len(name) + len(value)
            if name in _WATCHED:
                # A header that comes twice gets a value that fits nothing.
                headers[name] = value if name not in headers else b"?,?"
        if size > MAX_HEADER_BYTES:
            return _TOO_LONG
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if name_of(f"//{host}") not in self._hosts:
            return self._other_host
        # The handshake of a WebSocket has no method.
        method = scope.get("method", "GET")
        if not self._is_of_ours(headers, host, method):
            return _OTHER_PAGE
        return None if method in _READING else self._refused_body(headers)

    def _is_of_ours(self, headers: dict[bytes, bytes], host: str, method: str) -> bool:
        """Return whether a page of this server asks, or no page at all, or a person followed a link."""
        # The browser sends this, and no page can change it.
        site = headers.get(b"sec-fetch-site")
        if site == b"same-origin":
            return True
        origin = headers.get(b"origin")
        if origin is not None:
            address = origin.decode("latin-1").lower()
            return address.partition("://")[2] == host or name_of(address) in self._names
        if site in (None, b"none"):
            return True
        followed = (headers.get(b"sec-fetch-mode"), headers.get(b"sec-fetch-dest"))
        return method == "GET" and followed == (b"navigate", b"document")

    def _refused_body(self, headers: dict[bytes, bytes]) -> HttpRefusal | None:
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind not in self._content_types:
            return self._other_type
        length = headers.get(b"content-length", b"0")
        return self._too_large if length.isdigit() and int(length) > self._max_body_bytes else None

    def _counted(self, receive: Receive) -> Receive:
        """Return `receive` with a limit, for bodies that state no length, or a false one."""
        received = 0

        async def counting() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_body_bytes:
                raise HTTPException(self._too_large.status, self._too_large.message)
            return message

        return counting


async def _answer(refusal: HttpRefusal, send: Send) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(refusal.body)),
    ]
    await send({"type": "http.response.start", "status": refusal.status.value, "headers": headers})
    await send({"type": "http.response.body", "body": refusal.body})


class BoundedProtocol(HttpToolsProtocol):
    """Uvicorn's HTTP protocol with limits on how long a request may take to arrive, and on its headers' size.

    For a request that arrives in one piece, as nearly all do, the cost is two comparisons.
    """

    request_seconds = REQUEST_SECONDS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A request has begun, and is not complete.
        self._is_arriving = False
        self._in_headers = True
        self._header_bytes = 0
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start waiting for the first request."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._wait_no_longer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse the data, and then see whether the request is complete."""
        if self._in_headers:
            self._header_bytes += len(data)
        super().data_received(data)
        if self._is_arriving:
            if self._in_headers and self._header_bytes > MAX_UNFINISHED_HEADER_BYTES:
                self._close(_TOO_LONG)
            elif self._patience is None:
                self._wait()
        elif self.cycle is not None:
            # The request is complete; from here on uvicorn's keep-alive timeout applies.
            self._wait_no_longer()

    def handle_websocket_upgrade(self) -> None:
        """Leave the connection to the WebSocket's own protocol."""
        self._wait_no_longer()
        self._is_arriving = False
        super().handle_websocket_upgrade()

    def on_message_begin(self) -> None:
        """Note that a request begins."""
        self._is_arriving = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Note that the request's headers are complete."""
        self._in_headers = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that the request is complete; the next one begins with headers again."""
        self._is_arriving, self._in_headers, self._header_bytes = False, True, 0
        super().on_message_complete()

    def _wait(self) -> None:
        self._patience = self.loop.call_later(self.request_seconds, self._close, _TOO_SLOW)

    def _wait_no_longer(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _close(self, refusal: HttpRefusal) -> None:
        """Answer, unless nothing was asked or an answer has begun, and close the connection."""
        self._wait_no_longer()
        is_answered = not self._in_headers and self.cycle.response_started
        if self._is_arriving and not is_answered:
            status = f"HTTP/1.1 {refusal.status.value} {refusal.status.phrase}"
            lines = [
                status,
                "content-type: application/json",
                f"content-length: {len(refusal.body)}",
            ]
            head = "\r\n".join([*lines, "connection: close", "", ""])
            self.transport.write(head.encode() + refusal.body)
        self.transport.close()
