"""A span for each request, with the template of its route and never its path; none by default."""

import sys

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from churn.errors import ChurnError
from churn.http_log import RequestIds
from churn.settings import get_settings
from churn.tracing import Tracing

USER = "7590-VHVEG"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def spans_of(user: str) -> tuple[ReadableSpan, ...]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    app = FastAPI()

    @app.get("/features/{user_id}")
    def features(user_id: str) -> str:
        if user_id == "broken":
            raise LookupError(user_id)
        return user_id

    app.add_middleware(Tracing, provider=provider)
    app.add_middleware(RequestIds)
    with TestClient(app, raise_server_exceptions=False) as client:
        client.get(f"/features/{user}", headers={"traceparent": PARENT, "X-Request-ID": "r-1"})
    return exporter.get_finished_spans()


@pytest.mark.parametrize(("user", "status", "ok"), [(USER, 200, True), ("broken", 500, False)])
def test_a_request_is_a_span_of_its_caller_s_trace(user: str, status: int, ok: bool) -> None:
    [span] = spans_of(user)
    assert span.name == "GET /features/{user_id}"
    assert dict(span.attributes or {}) == {
        "http.request.method": "GET",
        "http.route": "/features/{user_id}",
        "http.response.status_code": status,
        "churn.request_id": "r-1",
    }
    assert span.status.is_ok is ok or span.status.is_unset is ok
    assert span.parent
    assert f"{span.parent.span_id:x}" == "b7ad6b7169203331"
    assert user not in span.to_json()


def test_by_default_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    get_settings.cache_clear()
    tracing = Tracing(FastAPI())
    assert tracing._provider is None
    monkeypatch.setenv("CHURN_TRACING", "true")
    get_settings.cache_clear()
    assert Tracing(FastAPI())._provider is not None
    exporter = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
    monkeypatch.setitem(sys.modules, exporter, None)
    with pytest.raises(ChurnError, match=r"streamflow-churn\[tracing\]"):
        Tracing(FastAPI())
    get_settings.cache_clear()
