"""GET /features/{user_id}."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from api.errors import UnknownUserError
from api.examples import USER
from api.parts import parts_of
from api.routes.responses import JsonResponse, errors
from api.schemas import FeaturesAnswer, UserId
from churn.contract.features import DEFAULT_SERVICE

router = APIRouter(tags=["features"])


@router.get("/features/{user_id}", response_model=FeaturesAnswer, responses=errors(404, 422, 503))
async def features(
    user_id: Annotated[UserId, Path(openapi_examples={USER: {"value": USER}})], request: Request
) -> Response:
    """Return what the online store holds of a user, as of when, and whether the user is still there."""
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
            feature_service=DEFAULT_SERVICE.name,
            missing_views=user.missing_views,
        )
    )
