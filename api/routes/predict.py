"""POST /predict, POST /predict/batch and POST /explain."""

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from api.dependencies import parts_of
from api.errors import ApiError, NoExplainerError
from api.predictor import predict
from api.routes.responses import JsonResponse, errors, explain_errors
from api.schemas import (
    BatchAnswer,
    BatchItem,
    BatchRequest,
    ErrorBody,
    ExplainRequest,
    Explanation,
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


explain_router = APIRouter(tags=["predict"])


@explain_router.post("/explain", responses=explain_errors())
async def explain(asked: ExplainRequest, request: Request) -> Explanation:
    """Say what moves a user's score most, exactly as the champion counts it.

    `base` and the contributions of all features (`top` as many as the model has) add up to `score`. The
    first answer after a start or a promotion takes a few seconds: the explainer is opened then.
    """
    parts = parts_of(request)
    champion = parts.champions.champion
    if champion.explanations is None:
        raise NoExplainerError(champion.version.version)
    found = await parts.predictor.predict(asked.user_id, champion)
    explained = await run_in_threadpool(
        champion.explanations.explain, found.features_used, champion.service, asked.top
    )
    return Explanation(
        user_id=found.user_id,
        probability=found.probability,
        score=explained.score,
        base=explained.base,
        unit=explained.unit,
        reasons=explained.reasons,
        model_version=found.model_version,
        feature_service=found.feature_service,
        as_of=found.as_of,
    )
