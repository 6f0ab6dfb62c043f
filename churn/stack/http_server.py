"""`python -m churn.stack.http_server`: serves an ASGI application of ours, the same way in every stack.

One worker, requests that have an end, answers that say nothing of the server, and a log by CHURN_LOG_FORMAT.
Uvicorn's own access log is off, since it would say who was asked about.
"""

import argparse
from collections.abc import Sequence

import uvicorn

from churn.http_guard import SHUTDOWN_SECONDS, BoundedProtocol
from churn.http_log import log_config
from churn.settings import get_settings


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve the application that the command line names until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m churn.stack.http_server")
    parser.add_argument("app", help="such as api.main:app")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args(arguments)
    uvicorn.run(
        options.app,
        host=options.host,
        port=options.port,
        loop="uvloop",
        http=BoundedProtocol,
        access_log=False,
        server_header=False,
        headers=[("x-content-type-options", "nosniff")],
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        log_config=log_config(get_settings().log_format),
    )


if __name__ == "__main__":
    main()
