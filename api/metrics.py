"""Prometheus metrics: requests by route template, and what is being served. No label holds a user id."""

import time

from fastapi import APIRouter, Request, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.champion import Champion
from api.dependencies import parts_of
from api.features import StoreState
from churn.months import Month

_BUCKETS = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
UNMATCHED = "unmatched"


class RequestMetrics:
    """ASGI middleware that counts and times each request."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self._app = app
        self._total = Counter(
            "api_requests", "Requests answered.", ["route", "method", "status"], registry=registry
        )
        self._latency = Histogram(
            "api_request_latency_seconds",
            "Time to answer.",
            ["route", "method"],
            registry=registry,
            buckets=_BUCKETS,
        )
        self._labelled: dict[tuple[str, str, int], tuple[Histogram, Counter]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and record its status and time."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # The status of an error that nothing has turned into an answer.
        status = 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        started = time.perf_counter()
        try:
            await self._app(scope, receive, noting)
        finally:
            seconds = time.perf_counter() - started
            route = getattr(scope.get("route"), "path_format", UNMATCHED)
            latency, total = self._children(route, scope["method"], status)
            latency.observe(seconds)
            total.inc()

    def _children(self, route: str, method: str, status: int) -> tuple[Histogram, Counter]:
        """Return the labelled metrics, cached: Prometheus' own lookup takes longer than the counting."""
        key = (route, method, status)
        if (children := self._labelled.get(key)) is None:
            known = method if method in _METHODS else "OTHER"
            total = self._total.labels(route, known, str(status))
            children = self._latency.labels(route, known), total
            # A client may make up any number of other methods.
            if known == method:
                self._labelled[key] = children
        return children


def served_metrics(store: StoreState, champion: Champion | None) -> CollectorRegistry:
    """Return metrics of what is being served now: readiness, the newest as_of and the model's version."""
    registry = CollectorRegistry()
    ready = Gauge("api_ready", "1 if this part can serve.", ["part"], registry=registry)
    ready.labels("store").set(store.ready)
    ready.labels("model").set(champion is not None)
    if store.newest is not None:
        newest = "api_newest_as_of_timestamp_seconds"
        as_of = Month(store.newest.replace(day=1)).as_of
        Gauge(newest, "as_of of the newest published month.", registry=registry).set(
            as_of.timestamp()
        )
    if champion is not None:
        labels = {
            "version": champion.version.version,
            "service": champion.service.versioned_name,
            "as_of": champion.version.as_of,
        }
        info = Gauge(
            "api_model_info", "1 for the version that serves.", list(labels), registry=registry
        )
        info.labels(**labels).set(1)
    return registry


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
