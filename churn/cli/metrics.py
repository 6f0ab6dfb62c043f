"""`churn metrics`: what Prometheus is told of the pipeline, served or printed once."""

from typing import Annotated

import typer

DEFAULT_PORT = 9108


def metrics(
    port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65535, help="Where to listen; METRICS_PORT, or 9108, if not given."
        ),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Print the metrics, and serve nothing.")
    ] = False,
) -> None:
    """Serve the pipeline's metrics for Prometheus: months, drops, runs, releases, drift, daemons.

    `/metrics` on the loopback, read from Postgres at most once in ten seconds. Where METRICS_PORT is set,
    `churn up` starts it with the stack; under compose it is a service of the profile `monitoring`.

    **Examples**

    - `churn metrics --once | grep overdue`
    - `churn metrics --port 9108`
    """
    if once:
        from churn.exporter.app import exposition

        typer.echo(exposition().decode(), nl=False)
        return
    import os

    from churn.settings import get_settings
    from churn.stack.parts import http_command
    from churn.stack.processes import LOOPBACK

    command = http_command(
        "churn.exporter.app:app", LOOPBACK, port or get_settings().metrics_port or DEFAULT_PORT
    )
    os.execv(command[0], command)  # noqa: S606  (no shell: the server takes this process's place)
