"""POST /predict and POST /predict/batch."""

from fastapi import APIRouter, Request, Response

from api.errors import ApiError
from api.parts import parts_of
from api.predictor import predict
from api.routes.responses import JsonResponse, errors
from api.schemas import (
    BatchAnswer,
    BatchItem,
    BatchRequest,
    ErrorBody,
    Prediction,
    PredictRequest,
)

router = APIRouter(prefix="/predict", tags=["predict"])


@router.post("", response_model=Prediction, responses=errors(404, 409, 422, 503))
async def predict_one(asked: PredictRequest, request: Request) -> Response:
    """Say whether a user of the newest published month will leave within the following one."""
    parts = parts_of(request)
    champion = parts.champions.champion
    return JsonResponse(await parts.predictor.predict(asked.user_id, champion))


@router.post("/batch", response_model=BatchAnswer, responses=errors(422, 503))
async def predict_batch(asked: BatchRequest, request: Request) -> Response:
    """Do the same for many users: each has a status of its own, the one that /predict would answer."""
    parts = parts_of(request)
    champion = parts.champions.champion
    found = await predict(asked.user_ids, parts.store.reader, champion)
    items = [_item(user, one) for user, one in zip(asked.user_ids, found, strict=True)]
    return JsonResponse(BatchAnswer(model_version=champion.version.version, results=items))


def _item(user_id: str, found: Prediction | ApiError) -> BatchItem:
    if isinstance(found, ApiError):
        return BatchItem(user_id=user_id, status=found.status, error=ErrorBody(**found.body))
    return BatchItem(user_id=user_id, status=200, prediction=found)
