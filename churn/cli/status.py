"""`churn status`: how each part of the stack is, and which months are behind."""

import dataclasses
import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from churn.cli.screen import health_table, out

if TYPE_CHECKING:
    from churn.stack.health import PartHealth

FAILED = ("failed", "given up")


def status(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of a table.")
    ] = False,
) -> None:
    """Ask each part of the stack whether it is well, and name the months that failed or wait for one.

    The exit status is 1 if a part is not well, or a month has failed and is not mended yet.

    **Examples**

    - `churn status`
    - `churn status --json | jq -r '.parts[] | select(.health != "healthy").log'`
    """
    from churn.settings import home_folder
    from churn.stack.health import status as ask_all

    parts = ask_all()
    if not as_json:
        out().print(health_table(parts))  # first: whatever the months are, this is known
    months = _months_behind(parts)
    healthy = all(part.health == "healthy" for part in parts)
    whole = healthy and not any(month["state"] in FAILED for month in months)
    if as_json:
        answer = {
            "home": str(home_folder()),
            "healthy": healthy,
            "parts": [dataclasses.asdict(part) for part in parts],
            "months": months,
        }
        typer.echo(json.dumps(answer, indent=2))
    else:
        for text in dict.fromkeys(month["sentence"] for month in months):
            out().print(f"[red]{escape(text)}[/red]", soft_wrap=True)
    if not whole:
        raise typer.Exit(1)


def _months_behind(parts: "list[PartHealth]") -> list[dict[str, str]]:
    """Return the stages of months that failed or wait behind a failure.

    None are known without Postgres, nor before its tables are there: a stack that starts makes them.
    Dagster, which takes seconds to load, is asked only once there are months to ask about.
    """
    from churn.database.init import has_deliveries, has_months

    if not any(part.name == "postgres" and part.health == "healthy" for part in parts):
        return []
    if not has_months() or not has_deliveries():
        return []
    from churn_assets.due import months_behind
    from churn_assets.run import instance

    with instance() as dagster:
        return months_behind(dagster)
