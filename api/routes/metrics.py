"""GET /metrics."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

router = APIRouter(tags=["metrics"])


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"example": "api_requests_total ..."}}}},
)
def metrics(request: Request) -> Response:
    """Return the counters in Prometheus' text format."""
    text = generate_latest(request.app.state.metrics)
    return Response(text, media_type=CONTENT_TYPE_LATEST)
