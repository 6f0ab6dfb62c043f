"""POST /explain."""

from fastapi import APIRouter

from api.errors import ApiError, NoExplainerError
from api.parts import PartsDep
from api.predictor import predict
from api.routes.responses import explain_errors
from api.schemas import ExplainRequest, Explanation

router = APIRouter(tags=["predict"])


@router.post("/explain", responses=explain_errors())
def explain(request: ExplainRequest, parts: PartsDep) -> Explanation:
    """Say what moves a user's score most, exactly as the champion counts it.

    `base` and the contributions of all features (`top` 24) add up to `score`. The first answer after a
    start or a promotion takes a few seconds: the explainer is opened then.
    """
    champion = parts.champions.champion
    if champion.explanations is None:
        raise NoExplainerError(champion.version.version)
    found = predict([request.user_id], parts.store.reader, champion)[0]
    if isinstance(found, ApiError):
        raise found
    explained = champion.explanations.explain(found.features_used, champion.service, request.top)
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
