"""POST /predict, POST /predict/batch and POST /explain."""

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from api.dependencies import parts_of
from api.errors import ApiError, NoExplainerError
from api.instead import with_values
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


@router.post("", response_model=Prediction, responses=errors(400, 404, 409, 422, 503))
async def predict_one(asked: PredictRequest, request: Request) -> Response:
    """Predict whether a user of the newest published month will leave within the following one."""
    parts = parts_of(request)
    champion = parts.champions.champion
    return JsonResponse(await parts.predictor.predict(asked.user_id, champion))


@router.post("/batch", response_model=BatchAnswer, responses=errors(400, 422, 503))
async def predict_batch(asked: BatchRequest, request: Request) -> Response:
    """Predict for many users; each gets its own status, the one that /predict would answer."""
    parts = parts_of(request)
    champion = parts.champions.champion
    outcomes = await predict(asked.user_ids, parts.store.reader, champion)
    items = [_item(user, one) for user, one in zip(asked.user_ids, outcomes, strict=True)]
    return JsonResponse(BatchAnswer(model_version=champion.version.version, results=items))


def _item(user_id: str, outcome: Prediction | ApiError) -> BatchItem:
    if isinstance(outcome, ApiError):
        return BatchItem(user_id=user_id, status=outcome.status, error=ErrorBody(**outcome.body))
    return BatchItem(user_id=user_id, status=200, prediction=outcome)


explain_router = APIRouter(tags=["predict"])


@explain_router.post("/explain", responses=explain_errors())
async def explain(asked: ExplainRequest, request: Request) -> Explanation:
    """Explain what moves a user's score most, exactly as the champion computes it.

    `base` and the contributions of all features (with `top` as many as the model has) add up to `score`.
    With `instead` it is explained what the model would say of a user with these values, of whom nothing is
    known; what would happen is another question. The first answer after a start or a promotion takes a few
    seconds, since the explainer is opened then.
    """
    parts = parts_of(request)
    champion = parts.champions.champion
    if champion.explanations is None:
        raise NoExplainerError(champion.version.version)
    prediction = await parts.predictor.predict(asked.user_id, champion)
    values, probability = prediction.features_used, prediction.probability
    if asked.instead:
        values = with_values(values, asked.instead, champion.service)
        [probability] = champion.probabilities([values])
    explained = await run_in_threadpool(
        champion.explanations.explain, values, champion.service, asked.top
    )
    return Explanation(
        user_id=prediction.user_id,
        probability=probability,
        own_probability=prediction.probability,
        score=explained.score,
        base=explained.base,
        unit=explained.unit,
        reasons=explained.reasons,
        model_version=prediction.model_version,
        feature_service=prediction.feature_service,
        as_of=prediction.as_of,
    )
