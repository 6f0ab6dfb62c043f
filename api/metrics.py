"""Prometheus: requests by route template, and what is being served. Never a user id in a label."""

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.parts import Parts
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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and note what came of it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500  # an error that nothing has turned into an answer

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        started = time.perf_counter()
        try:
            await self._app(scope, receive, noting)
        finally:
            route = getattr(scope.get("route"), "path", UNMATCHED)
            method = scope["method"] if scope["method"] in _METHODS else "OTHER"
            self._latency.labels(route, method).observe(time.perf_counter() - started)
            self._total.labels(route, method, str(status)).inc()


class ServedMetrics(Collector):
    """What is being served, looked up when Prometheus asks."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield readiness, the newest as_of and the model's version."""
        store, champion = self._parts.store.state(), self._parts.champions.loaded
        ready = GaugeMetricFamily("api_ready", "1 if this part can serve.", labels=["part"])
        ready.add_metric(["store"], float(store.ready))
        ready.add_metric(["model"], float(champion is not None))
        yield ready
        newest = GaugeMetricFamily(
            "api_newest_as_of_timestamp_seconds", "as_of of the newest published month."
        )
        if store.newest is not None:
            newest.add_metric([], Month(store.newest.replace(day=1)).as_of.timestamp())
        yield newest
        info = GaugeMetricFamily(
            "api_model_info",
            "1 for the version that serves.",
            labels=["version", "service", "as_of"],
        )
        if champion is not None:
            labels = [champion.version.version, champion.service.name, champion.version.as_of]
            info.add_metric(labels, 1)
        yield info
