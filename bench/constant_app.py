"""What server and framework alone cost: the API's middleware, and a GET /features that reads nothing."""

from typing import Annotated

import orjson
from fastapi import APIRouter, FastAPI, Path, Request, Response
from prometheus_client import CollectorRegistry

from api.errors import install_handlers
from api.metrics import RequestMetrics
from api.schemas import FEATURES, FeaturesAnswer, UserId

_ANSWER = orjson.dumps(FEATURES)

router = APIRouter()


@router.get("/features/{user_id}", response_model=FeaturesAnswer)
async def features(user_id: Annotated[UserId, Path()], request: Request) -> Response:
    return Response(_ANSWER, media_type="application/json")


app = FastAPI(redirect_slashes=False)
app.add_middleware(RequestMetrics, registry=CollectorRegistry())
install_handlers(app)
app.include_router(router)
