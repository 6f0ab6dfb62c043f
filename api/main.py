"""The application: routes, error handlers, its guard, metrics, and the parts that start and stop with it.

`/docs` is the OpenAPI page. It works without the internet: its files come from a package, not from a CDN.
"""

import base64
import gc
import hashlib
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.resources import as_file, files
from pathlib import Path

from fastapi import FastAPI, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse
from prometheus_client import CollectorRegistry
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import metrics
from api.dependencies import Parts
from api.door import Door, RateLimit, document_door
from api.errors import install_handlers
from api.metrics import RequestMetrics
from api.routes import features, health, predict
from api.routes.responses import errors
from api.schemas import MAX_BODY_BYTES
from churn.http_guard import Guard, host_names, name_of
from churn.http_log import RequestIds
from churn.settings import get_settings
from churn.tracing import Tracing

_FILES = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png")


def serve_documentation(app: FastAPI) -> None:
    """Add the page and its files. Addresses are relative, since a proxy may put a path in front."""
    script, style, icon = (f"docs/{name}" for name in _FILES)
    page = get_swagger_ui_html(
        openapi_url="openapi.json",
        title=app.title,
        swagger_js_url=script,
        swagger_css_url=style,
        swagger_favicon_url=icon,
    ).body
    headers = {"Content-Security-Policy": _policy(bytes(page).decode())}

    @app.get("/docs", include_in_schema=False)
    async def documentation() -> Response:
        return HTMLResponse(page, headers=headers)

    @app.get("/docs/{name}", include_in_schema=False)
    def documentation_file(name: str) -> Response:
        if name not in _FILES:
            raise HTTPException(404)
        return FileResponse(_folder() / name)


def _folder() -> Path:
    with as_file(files("fastapi_offline") / "static") as folder:
        return folder


def _policy(html: str) -> str:
    """Return a content security policy that lets the page run its own scripts and nothing else."""
    inline = [
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in re.findall(r"<script>(.*?)</script>", html, re.S)
    ]
    scripts = " ".join(["'self'", *(f"'sha256-{digest}'" for digest in inline)])
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'self' 'unsafe-inline';"
        " img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'"
    )


class AnswersHead:
    """Answers HEAD wherever GET is answered: the same status and headers, without a body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a HEAD on as a GET, and leave out the body."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def without_body(message: Message) -> None:
            is_body = message["type"] == "http.response.body"
            await send({**message, "body": b""} if is_body else message)

        # A copy, since the server must still see a HEAD, whose response has a length and no body.
        as_get = {**scope, "method": "GET"}
        try:
            await self._app(as_get, receive, without_body)
        finally:
            # Requests are counted by route.
            if "route" in as_get:
                scope["route"] = as_get["route"]


def create_app(make_parts: Callable[[], Parts] = Parts.from_settings) -> FastAPI:
    """Return a new application.

    Args:
        make_parts: called at start; tests pass one that returns their own store and registry.
    """
    registry = CollectorRegistry()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        parts = make_parts()
        app.state.parts = parts
        parts.start()
        # What is loaded by now stays, so the garbage collector need not look at it again and again.
        gc.freeze()
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
        # `serve_documentation` adds a page of our own.
        docs_url=None,
        redoc_url=None,
        responses=errors(500),
    )
    app.state.metrics = registry
    app.add_middleware(AnswersHead)
    app.add_middleware(Door, make_limit=RateLimit.from_settings)
    app.add_middleware(
        Guard, names=_host_names, setting="API_HOST_NAMES", max_body_bytes=MAX_BODY_BYTES
    )
    # Added last, and so outermost: it also counts requests that the guard refuses.
    app.add_middleware(RequestMetrics, registry=registry)
    app.add_middleware(Tracing)
    app.add_middleware(RequestIds)  # what is logged on the way in has its id, too
    install_handlers(app)
    # A path is tried against the routes in this order.
    for router in (
        features.router,
        predict.router,
        predict.explain_router,
        health.router,
        metrics.router,
    ):
        app.include_router(router)
    serve_documentation(app)
    document_door(app)
    return app


def _host_names() -> set[str]:
    settings = get_settings()
    return {*host_names(settings.api_host_names), settings.api_host, name_of(settings.api_url)}


app = create_app()
