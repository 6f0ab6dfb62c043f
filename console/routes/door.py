"""Whether somebody may come to Dagster and MLflow: the proxy before both asks for each request.

Both do whatever they are asked, so those alone are let through who may decide on releases. The answer is for
the proxy, which knows three: 204, 401 with the address of the sign-in page, 403.
"""

from fastapi import APIRouter, Request, Response

from churn.http_guard import LOOPBACK_NAMES
from churn.settings import get_settings
from console.access import person_at_another_port
from console.errors import SignInNeededError
from console.roles import Role

router = APIRouter()
# A header of the proxy's: the name, without the port, under which it was asked.
_NAME_OF_THE_DOOR = "X-Door-Host"


@router.get("/door/verify")
def verify(request: Request) -> Response:
    """Say whether whoever has this session is let through."""
    try:
        who = person_at_another_port(request)
    except SignInNeededError:
        sign_in = f"{_console_beside(request.headers.get(_NAME_OF_THE_DOOR, ''))}/sign-in"
        return Response(status_code=401, headers={"location": sign_in})
    return Response(status_code=204 if who.may(Role.APPROVER) else 403)


def _console_beside(host: str) -> str:
    """Return the console's address for somebody who came to the door under this name.

    The loopback has several names, and a browser that signs in under one of them sends no cookie to another.
    """
    settings = get_settings()
    if not settings.console_url and host.strip("[]") in LOOPBACK_NAMES:
        return f"http://{host}:{settings.console_port}"
    return settings.console_address
