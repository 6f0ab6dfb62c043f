"""What stands before every form: who sends it, and how much they may send, before any of it is read.

The framework reads a form before a route's own checks run. So whoever is not signed in would have the console
take in a whole upload first; here they are refused by the headers alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console.access import READING, person_of, require
from console.errors import UNREACHABLE, BodyTooLargeError, ConsoleError, answer_to
from console.roles import Role

FORM_BYTES = 256 * 1024  # a page of ticked users, each id as long as one can be
# Where somebody signs in, there is no session yet.
BEFORE_SIGN_IN = frozenset({"/sign-in", "/sign-in/link"})


@dataclass(frozen=True)
class Upload:
    """A path that takes a file: how large the body may be, and the least role that may send it."""

    max_bytes: int
    role: Role


class FormGuard:
    """ASGI middleware that refuses a form by its headers, and counts what arrives."""

    def __init__(self, app: ASGIApp, uploads: Mapping[str, Upload]) -> None:
        self._app, self._uploads = app, uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http" or scope["method"] in READING:
            await self._app(scope, receive, send)
            return
        upload = self._uploads.get(scope["path"], Upload(FORM_BYTES, Role.VIEWER))
        request = Request(scope)
        try:
            if scope["path"] not in BEFORE_SIGN_IN:
                require(await run_in_threadpool(person_of, request), upload.role)
            length = request.headers.get("content-length", "")
            if length.isdigit() and int(length) > upload.max_bytes:
                raise BodyTooLargeError(upload.max_bytes)
        except (ConsoleError, *UNREACHABLE) as error:
            answer = answer_to(request, error)
            # What has not been read is still under way: the connection cannot carry another request.
            answer.headers["connection"] = "close"
            await answer(scope, receive, send)
            return
        await self._app(scope, _counted(receive, upload.max_bytes), send)


def _counted(receive: Receive, max_bytes: int) -> Receive:
    """Return `receive` with a limit, for bodies that state no length, or a false one."""
    received = 0

    async def counting() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > max_bytes:
            refused = BodyTooLargeError(max_bytes)
            # The framework hands on no other exception from the reading of a form.
            raise HTTPException(refused.status, refused.message)
        return message

    return counting
