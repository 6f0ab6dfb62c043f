"""The console's application: its pages, its guard, and what starts with it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.resources import as_file, files

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.staticfiles import StaticFiles

from churn.http_guard import Guard, host_names, name_of
from churn.http_log import RequestIds
from churn.settings import get_settings
from churn.tracing import Tracing
from console import sign_in
from console.errors import install_handlers
from console.forms import FormGuard, Upload
from console.headers import STATIC, Headers
from console.queries import Database
from console.roles import Role
from console.routes import (
    actions,
    customer,
    data,
    decisions,
    door,
    impact,
    month,
    planner,
    segments,
    trust,
)
from console.uploads import MAX_UPLOAD_BYTES

# Every other form is short.
UPLOADS = {
    "/actions/file": Upload(32 * 1024 * 1024, Role.CALLER),  # what was done to whom
    "/data/drops": Upload(MAX_UPLOAD_BYTES, Role.ADMINISTRATOR),
}
FORMS = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})


def create_app(make_database: Callable[[], Database] = Database.from_settings) -> FastAPI:
    """Return a new application.

    Args:
        make_database: called at start.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        database = make_database()
        app.state.database = database
        database.open()
        try:
            yield
        finally:
            await run_in_threadpool(database.close)

    app = FastAPI(
        title="StreamFlow churn console",
        lifespan=lifespan,
        redirect_slashes=False,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(FormGuard, uploads=UPLOADS)
    app.add_middleware(
        Guard,
        names=_host_names,
        setting="CONSOLE_HOST_NAMES",
        max_body_bytes=max(each.max_bytes for each in UPLOADS.values()),
        content_types=FORMS,
    )
    app.add_middleware(Headers)  # outside: refusals have them, too
    app.add_middleware(Tracing)
    app.add_middleware(RequestIds)
    install_handlers(app)

    @app.get("/health/live", include_in_schema=False)
    async def live() -> JSONResponse:
        return JSONResponse({"live": True})

    for router in (
        sign_in.router,
        month.router,
        actions.router,
        planner.router,
        customer.router,
        segments.router,
        impact.router,
        data.router,
        trust.router,
        decisions.router,
        door.router,
    ):
        app.include_router(router)
    with as_file(files("console") / "static") as folder:
        app.mount(STATIC, StaticFiles(directory=folder), name="static")
    return app


def _host_names() -> set[str]:
    settings = get_settings()
    return {
        *host_names(settings.console_host_names),
        settings.console_host,
        name_of(settings.console_url),
    }


app = create_app()
