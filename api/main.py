"""The application: routes, error handlers, its guard, metrics, and the parts that start and stop with it."""

import gc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.documentation import serve_documentation
from api.errors import install_handlers
from api.metrics import RequestMetrics
from api.parts import Parts
from api.routes import explain, features, health, metrics, predict
from api.routes.responses import errors
from api.schemas import MAX_BODY_BYTES
from churn.http_guard import Guard, host_names, name_of
from churn.settings import get_settings


class AnswersHead:
    """Answers HEAD wherever GET is answered: the same status and headers, and no body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a HEAD on as a GET, and keep the body back."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def without_body(message: Message) -> None:
            is_body = message["type"] == "http.response.body"
            await send({**message, "body": b""} if is_body else message)

        # A copy: the server goes by its own, and a response to HEAD has a length and no body.
        asked = {**scope, "method": "GET"}
        try:
            await self._app(asked, receive, without_body)
        finally:
            if "route" in asked:
                scope["route"] = asked["route"]  # by which it is counted


def create_app(make_parts: Callable[[], Parts] = Parts.from_settings) -> FastAPI:
    """Return a new application.

    Args:
        make_parts: called at start; tests put their own store and registry there.
    """
    registry = CollectorRegistry()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        parts = make_parts()
        app.state.parts = parts
        parts.start()
        gc.freeze()  # what is loaded by now stays: the collector need not look at it again and again
        try:
            yield
        finally:
            await parts.stop()

    app = FastAPI(
        title="StreamFlow churn",
        description="Features and churn predictions of the newest published month.",
        version="0.1.0",
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,  # a page of our own, below
        redoc_url=None,
        responses=errors(500),
    )
    app.state.metrics = registry
    app.add_middleware(AnswersHead)
    app.add_middleware(
        Guard, names=_host_names, setting="API_HOST_NAMES", max_body_bytes=MAX_BODY_BYTES
    )
    app.add_middleware(RequestMetrics, registry=registry)  # outside: it counts refusals, too
    install_handlers(app)
    for module in (features, predict, explain, health, metrics):  # tried in this order
        app.include_router(module.router)
    serve_documentation(app)
    return app


def _host_names() -> set[str]:
    settings = get_settings()
    return {*host_names(settings.api_host_names), settings.api_host, name_of(settings.api_url)}


app = create_app()
