"""GET /features/{user_id}."""

from typing import Annotated

from fastapi import APIRouter, Path

from api.errors import UnknownUserError
from api.examples import USER
from api.parts import PartsDep
from api.routes.responses import errors
from api.schemas import FeaturesAnswer, UserId
from churn.contract.features import DEFAULT_SERVICE

router = APIRouter(tags=["features"])


@router.get("/features/{user_id}", responses=errors(404, 422, 503))
def features(
    user_id: Annotated[UserId, Path(openapi_examples={USER: {"value": USER}})], parts: PartsDep
) -> FeaturesAnswer:
    """Return what the online store holds of a user, as of when, and whether the user is still there."""
    reading = parts.store.reader.read([user_id], DEFAULT_SERVICE)
    user = reading.users[0]
    if user.as_of is None:
        raise UnknownUserError(user_id)
    return FeaturesAnswer(
        user_id=user_id,
        features={"user_id": user_id, **user.values},
        as_of=user.as_of,
        current=reading.is_current(user),
        feature_service=DEFAULT_SERVICE.name,
        missing_views=user.missing_views,
    )
