"""`python -m churn.stack.dagster_webserver`: Dagster's webserver behind the guard that our other ports have.

Dagster's own command accepts a mutation from any web page that is opened on this machine, even as the address
of a picture. Here the same application runs behind `churn.http_guard`, and answers no query by GET.
"""

import argparse
from pathlib import Path
from typing import Any

import uvicorn
from dagster import DagsterInstance
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._utils.log import configure_loggers
from dagster_webserver.version import __version__
from dagster_webserver.webserver import DagsterWebserver
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from churn.http_guard import SHUTDOWN_SECONDS, BoundedProtocol, Guard, host_names
from churn.settings import get_settings

# A run's whole configuration, typed into the launchpad, is far smaller.
MAX_BODY_BYTES = 4 * 1024 * 1024
# These are the values of Dagster's own command.
_STATEMENT_MILLISECONDS, _POOL_RECYCLE_SECONDS, _POOL_OVERFLOW = 15_000, 3_600, 20
_UI_POLL_MILLISECONDS = 2_000


class GuardedWebserver(DagsterWebserver[Any, Any]):
    """Dagster's application, for requests from its own pages and from programs on this machine."""

    def build_middleware(self) -> list[Middleware]:
        """Return Dagster's middleware, with the guard in front."""
        guard = Middleware(
            Guard,
            names=lambda: host_names(get_settings().dagster_host_names),
            setting="DAGSTER_HOST_NAMES",
            max_body_bytes=MAX_BODY_BYTES,
        )
        return [guard, *super().build_middleware()]

    async def graphql_http_endpoint(self, request: Request) -> Response:
        """Answer queries by POST; a GET shows the page on which a person can ask, and runs nothing."""
        if request.method != "POST" and "text/html" not in request.headers.get("accept", ""):
            return PlainTextResponse("ask by POST", 405, {"Allow": "POST"})
        answer: Response = await super().graphql_http_endpoint(request)
        return answer


def serve(host: str, port: int, workspace: Path) -> None:
    """Serve the instance of DAGSTER_HOME until told to stop."""
    configure_loggers(formatter="colored", log_level="INFO")
    with DagsterInstance.get() as instance:
        instance.optimize_for_webserver(
            _STATEMENT_MILLISECONDS, _POOL_RECYCLE_SECONDS, _POOL_OVERFLOW
        )
        with WorkspaceProcessContext(
            instance, WorkspaceFileTarget([str(workspace)]), version=__version__
        ) as context:
            server = GuardedWebserver(context, live_data_poll_rate=_UI_POLL_MILLISECONDS)
            uvicorn.run(
                server.create_asgi_app(),
                host=host,
                port=port,
                http=BoundedProtocol,
                log_level="warning",
                server_header=False,
                timeout_graceful_shutdown=SHUTDOWN_SECONDS,
                headers=[("x-frame-options", "SAMEORIGIN")],
            )


def main() -> None:
    """Read the command line; its options are those of `dagster-webserver`."""
    parser = argparse.ArgumentParser(prog="python -m churn.stack.dagster_webserver")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=3000)
    parser.add_argument("--workspace", type=Path, required=True)
    options = parser.parse_args()
    serve(options.host, options.port, options.workspace)


if __name__ == "__main__":
    main()
