"""POST /predict and POST /predict/batch."""

from fastapi import APIRouter

from api.errors import ApiError
from api.parts import PartsDep
from api.predictor import predict
from api.routes.responses import errors
from api.schemas import (
    BatchAnswer,
    BatchItem,
    BatchRequest,
    ErrorBody,
    Prediction,
    PredictRequest,
)

router = APIRouter(prefix="/predict", tags=["predict"])


@router.post("", responses=errors(404, 409, 422, 503))
def predict_one(request: PredictRequest, parts: PartsDep) -> Prediction:
    """Say whether a user of the newest published month will leave within the following one."""
    champion = parts.champions.champion
    found = predict([request.user_id], parts.store.reader, champion)[0]
    if isinstance(found, ApiError):
        raise found
    return found


@router.post("/batch", responses=errors(422, 503))
def predict_batch(request: BatchRequest, parts: PartsDep) -> BatchAnswer:
    """Do the same for many users: each has a status of its own, the one that /predict would answer."""
    champion = parts.champions.champion
    found = predict(request.user_ids, parts.store.reader, champion)
    items = [_item(user, one) for user, one in zip(request.user_ids, found, strict=True)]
    return BatchAnswer(model_version=champion.version.version, results=items)


def _item(user_id: str, found: Prediction | ApiError) -> BatchItem:
    if isinstance(found, ApiError):
        return BatchItem(user_id=user_id, status=found.status, error=ErrorBody(**found.body))
    return BatchItem(user_id=user_id, status=200, prediction=found)
