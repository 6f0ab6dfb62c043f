"""GET /features/{user_id}, whatever characters the id has."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from starlette.convertors import StringConvertor, register_url_convertor

from api.dependencies import parts_of
from api.errors import NoUserNamedError, UnknownUserError
from api.routes.responses import JsonResponse, errors
from api.schemas import USER, FeaturesAnswer, UserId
from churn.contract.in_force import DEFAULT_SERVICE

router = APIRouter(tags=["features"])


class RestOfPath(StringConvertor):
    """The rest of the path, including slashes: the server has decoded it once, before routes are tried.

    So an id may contain a slash (%2F), and one that contains the text %2F is sent as %252F.
    """

    # Starlette's own `path` stops at a line break, and would let one pass at the end.
    regex = r"[\s\S]+"


register_url_convertor("rest", RestOfPath())


@router.get("/features", include_in_schema=False)
@router.get("/features/", include_in_schema=False)
async def nobody() -> Response:
    """Answer how to ask for a user."""
    raise NoUserNamedError


@router.get(
    "/features/{user_id:rest}", response_model=FeaturesAnswer, responses=errors(404, 422, 503)
)
async def features(
    user_id: Annotated[UserId, Path(openapi_examples={USER: {"value": USER}})], request: Request
) -> Response:
    """Return a user's features, the month end they are of, and whether the user is still there.

    The id is percent-encoded as one segment: `a/b?` is requested as `/features/a%2Fb%3F`.
    """
    reading = await parts_of(request).store.read_one(user_id)
    user = reading.users[0]
    if user.as_of is None:
        raise UnknownUserError(user_id)
    return JsonResponse(
        FeaturesAnswer(
            user_id=user_id,
            features={"user_id": user_id, **user.values},
            as_of=user.as_of,
            current=reading.is_current(user),
            feature_service=DEFAULT_SERVICE.versioned_name,
            missing_views=user.missing_views,
        )
    )
