"""`churn status`: how each part of the stack is."""

import dataclasses
import json
from typing import Annotated

import typer

from churn.cli.screen import health_table, out


def status(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of a table.")
    ] = False,
) -> None:
    """Ask each part of the stack whether it is well; exit status 1 if one is not.

    **Examples**

    - `churn status`
    - `churn status --json | jq -r '.parts[] | select(.health != "healthy").log'`
    """
    from churn.settings import home_folder
    from churn.stack.health import status as ask_all

    parts = ask_all()
    healthy = all(part.health == "healthy" for part in parts)
    if as_json:
        answer = {
            "home": str(home_folder()),
            "healthy": healthy,
            "parts": [dataclasses.asdict(part) for part in parts],
        }
        typer.echo(json.dumps(answer, indent=2))
    else:
        out().print(health_table(parts))
    if not healthy:
        raise typer.Exit(1)
