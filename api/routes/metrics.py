"""GET /metrics."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api.metrics import served_metrics
from api.parts import parts_of

router = APIRouter(tags=["metrics"])


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"example": "api_requests_total ..."}}}},
)
async def metrics(request: Request) -> Response:
    """Return the counters in Prometheus' text format."""
    parts = parts_of(request)
    served = served_metrics(await parts.store.state(), parts.champions.loaded)
    text = generate_latest(request.app.state.metrics) + generate_latest(served)
    return Response(text, media_type=CONTENT_TYPE_LATEST)
