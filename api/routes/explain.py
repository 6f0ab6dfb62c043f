"""POST /explain."""

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from api.errors import NoExplainerError
from api.parts import parts_of
from api.routes.responses import explain_errors
from api.schemas import ExplainRequest, Explanation

router = APIRouter(tags=["predict"])


@router.post("/explain", responses=explain_errors())
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
