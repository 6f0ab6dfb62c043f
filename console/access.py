"""Who may do what: the one place where a request's session, role and form are checked.

Every route names the least role that it needs, `Depends(allowed(Role.CALLER))`, and gets the person. A route
that names none is open, which a test allows to the sign-in page, the files and the health page only.
"""

import contextlib
import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request

from console.errors import BadFormError, NotAllowedError, SignInNeededError
from console.queries import Database
from console.roles import Person, Role

_COOKIE = "churn_console"
_SESSION_COOKIE = re.compile(rf"{_COOKIE}(_\d+)?")
FORM_FIELD = "csrf"
READING = frozenset({"GET", "HEAD"})


def database_of(request: Request) -> Database:
    """Return the application's connections."""
    database: Database = request.app.state.database
    return database


def cookie_name(request: Request, of: str = "") -> str:
    """Return the name of a cookie of ours; it has the port in it, since browsers keep cookies by host alone.

    Args:
        request: addressed to the console as the browser sees it.
        of: what the cookie is for, if not for the session.
    """
    port = request.url.port
    return "_".join(part for part in (_COOKIE, of, str(port or "")) if part)


def hashed(token: str) -> str:
    """Return what is kept of a secret that only its holder knows."""
    return hashlib.sha256(token.encode()).hexdigest()


def form_token(secret: str) -> str:
    """Return what a form must carry: no other page can tell it without the cookie that it follows from."""
    return hmac.digest(secret.encode(), b"form", "sha256").hex()


def person_of(request: Request) -> Person:
    """Return who asks.

    Raises:
        SignInNeededError: there is no session, or it has ended.
    """
    return _of_session(request, request.cookies.get(cookie_name(request), ""))


def person_at_another_port(request: Request) -> Person:
    """Return who asks at another port of the console's host, such as Dagster's, by any console's cookie.

    Raises:
        SignInNeededError: there is no session, or it has ended.
    """
    for name, token in request.cookies.items():
        if _SESSION_COOKIE.fullmatch(name):
            with contextlib.suppress(SignInNeededError):
                return _of_session(request, token)
    raise SignInNeededError


def _of_session(request: Request, token: str) -> Person:
    if not token:
        raise SignInNeededError
    with database_of(request).own() as connection:
        row = connection.execute(
            "SELECT person, role FROM console.sessions"
            " WHERE token_sha256 = %s AND expires_at > clock_timestamp()",
            [hashed(token)],
        ).fetchone()
    if row is None:
        raise SignInNeededError
    return Person(row[0], Role.named(row[1]), form_token(token))


def allowed(role: Role) -> Callable[..., Awaitable[Person]]:
    """Return the dependency of a route that needs this role; it gives the person.

    Raises (when the request comes):
        SignInNeededError: nobody is signed in.
        NotAllowedError: the person's role may not do this.
        BadFormError: what would change something does not come from a form of ours.
    """

    async def check(request: Request, person: Annotated[Person, Depends(person_of)]) -> Person:
        require(person, role)
        if request.method not in READING:
            await check_form(request, person.csrf)
        return person

    return check


def require(person: Person, role: Role) -> None:
    """Refuse somebody whose role may not do what this one may.

    Raises:
        NotAllowedError: it may not.
    """
    if not person.may(role):
        raise NotAllowedError(role=str(role), own=str(person.role))


async def check_form(request: Request, expected: str) -> None:
    """Refuse a form that does not carry what only a page of ours could have put there.

    Raises:
        BadFormError: it does not.
    """
    field = (await request.form()).get(FORM_FIELD)
    sent = field if isinstance(field, str) else ""
    if not hmac.compare_digest(sent.encode(errors="replace"), expected.encode()):
        raise BadFormError


Viewer = Annotated[Person, Depends(allowed(Role.VIEWER))]
Caller = Annotated[Person, Depends(allowed(Role.CALLER))]
Approver = Annotated[Person, Depends(allowed(Role.APPROVER))]
Administrator = Annotated[Person, Depends(allowed(Role.ADMINISTRATOR))]
