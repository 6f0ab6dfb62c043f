"""Whether somebody may come to Dagster and MLflow: the proxy before both asks for each request.

Both do whatever they are asked, so those alone are let through who may decide on releases. The answer is for
the proxy, which knows three: 204, 401 with the address of the sign-in page, 403.
"""

from fastapi import APIRouter, Request, Response

from churn.settings import get_settings
from console.access import person_at_another_port
from console.errors import SignInNeededError
from console.roles import Role

router = APIRouter()


@router.get("/door/verify")
def verify(request: Request) -> Response:
    """Say whether whoever has this session is let through."""
    try:
        who = person_at_another_port(request)
    except SignInNeededError:
        sign_in = f"{get_settings().console_address}/sign-in"
        return Response(status_code=401, headers={"location": sign_in})
    return Response(status_code=204 if who.may(Role.APPROVER) else 403)
