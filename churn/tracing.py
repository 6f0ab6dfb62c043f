"""OpenTelemetry: a span for each request of the API and of the console, off unless CHURN_TRACING says so.

The SDK is MLflow's already; what exports spans is an extra of the package, and OpenTelemetry's own variables
say where to (OTEL_EXPORTER_OTLP_ENDPOINT) and under which name (OTEL_SERVICE_NAME). The usual instrumentation
of FastAPI is not used, since it writes each request's path into its span, and a path names a user.
"""

from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from churn.errors import ChurnError
from churn.http_log import request_id, route_of
from churn.settings import get_settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider


class Tracing:
    """ASGI middleware that makes a span of each request, as a child of its caller's where that has one.

    Args:
        app: the application.
        provider: what spans go to; by default that of the settings, and none without CHURN_TRACING.
    """

    def __init__(self, app: ASGIApp, provider: "TracerProvider | None" = None) -> None:
        self._app = app
        self._provider = provider or (_exporting() if get_settings().tracing else None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, within a span."""
        if scope["type"] == "lifespan" and self._provider is not None:
            await self._app(scope, receive, send)
            self._provider.shutdown()
        elif scope["type"] != "http" or self._provider is None:
            await self._app(scope, receive, send)
        else:
            await self._traced(self._provider, scope, receive, send)

    async def _traced(
        self, provider: "TracerProvider", scope: Scope, receive: Receive, send: Send
    ) -> None:
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind, Status, StatusCode

        carrier = {
            name.decode("latin-1"): text.decode("latin-1") for name, text in scope["headers"]
        }
        status = 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        tracer = provider.get_tracer("streamflow-churn")
        # An error's text may name a user, so it is in the log alone.
        with tracer.start_as_current_span(
            scope["method"],
            extract(carrier),
            SpanKind.SERVER,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                await self._app(scope, receive, noting)
            finally:
                route = route_of(scope)
                span.update_name(f"{scope['method']} {route}")
                span.set_attributes(
                    {
                        "http.request.method": scope["method"],
                        "http.route": route,
                        "http.response.status_code": status,
                        "churn.request_id": request_id(),
                    }
                )
                if status >= 500:
                    span.set_status(Status(StatusCode.ERROR))


def _exporting() -> "TracerProvider":
    """Return a provider that exports by OpenTelemetry's own variables."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ChurnError(
            "the exporter of OpenTelemetry is not installed",
            where="CHURN_TRACING",
            remedy="pip install 'streamflow-churn[tracing]', or unset it",
        ) from error
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
