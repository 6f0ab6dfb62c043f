"""The stack: `churn init`, `up`, `down`, `status`; and `churn feast`, Feast's own command on our registry."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from churn.cli.people import sign_in_link
from churn.cli.screen import err, health_table, out, stack_progress
from churn.errors import ChurnError

if TYPE_CHECKING:
    from churn.stack.health import PartHealth


def init(
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Make only this one ready: streamflow, dagster or mlflow; may be repeated.",
        ),
    ] = None,
) -> None:
    """Create databases and tables, and bring those that hold data up to this version; safe to run again.

    What the contract has gained since the last time, such as a column, is added while the API serves. What
    would lose data is refused, and then nothing is changed.

    `churn up` does this by itself. On a server it is the step before the services, since three of
    them starting at once on an empty database would spoil each other's migrations. Where
    API_POSTGRES_PASSWORD is set, the API's role is made, too: it may read what the API serves. With
    READER_POSTGRES_PASSWORD a role is made that may read the views of `retention`, with
    CONSOLE_POSTGRES_PASSWORD the console's.

    **Example**

    - `POSTGRES_HOST=db POSTGRES_PASSWORD=... churn init`
    """
    from churn.database.init import SERVICES, initialise

    services = tuple(only or SERVICES)
    initialise(services)
    err().print(f"ready: {', '.join(services)}")


def up() -> None:
    """Start Postgres, MLflow, the API, the console and Dagster, and leave them running.

    What runs already is left as it is, so a second `up` only says where everything is. At the end stands a
    link that opens the console, once; `churn console` prints another. State lives in `.churn/` (or
    CHURN_HOME); ports come from CONSOLE_PORT (8080), DAGSTER_PORT (3000), MLFLOW_PORT (5000) and API_PORT
    (8000). Where POSTGRES_HOST is set, that server is used and none is started.

    **Examples**

    - `churn up`
    - `MLFLOW_PORT=5001 churn up`
    """
    from churn.stack.health import status, status_once_settled
    from churn.stack.supervisor import up as start_all

    with stack_progress() as report:
        started = start_all(report)
    parts = status()
    if slow := [part.name for part in parts if part.health == "unhealthy"]:
        err().print(f"waiting for {', '.join(slow)}")
        parts = status_once_settled()
    if not started:
        err().print("everything is running already")
    out().print(health_table(parts))
    if any(part.name == "console" and part.health == "healthy" for part in parts):
        out().print(f"\nconsole: {sign_in_link()}\n", soft_wrap=True)
    err().print("`churn status` asks again, `churn down` stops it all")
    if any(part.health != "healthy" for part in parts):
        raise typer.Exit(1)


def down() -> None:
    """Stop the stack: Dagster first, Postgres last; no process and no open port stays behind.

    Runs that are under way are cancelled. What a killed command left behind is stopped too, and a
    `churn demo` or `churn run` at work on this state folder is told to end. The data stay.

    **Examples**

    - `churn down`
    - `CHURN_HOME=/srv/churn churn down`
    """
    from churn.stack.supervisor import down as stop_all

    with stack_progress() as report:
        stopped = stop_all(report)
    err().print(f"stopped {', '.join(stopped)}" if stopped else "nothing was running")


FAILED = ("failed", "given up")


def status(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of a table.")
    ] = False,
) -> None:
    """Ask each part of the stack whether it is healthy, and name the months that failed or wait for one.

    Events that could not be delivered and were given up are named, too. The exit status is 1 if a part is
    not healthy, or if a month has failed and has not been fixed yet.

    **Examples**

    - `churn status`
    - `churn status --json | jq -r '.parts[] | select(.health != "healthy").log'`
    """
    from churn.settings import home_folder
    from churn.stack.health import status as ask_all

    parts = ask_all()
    # Printed first, whatever can be said about the months.
    if not as_json:
        out().print(health_table(parts))
    has_tables = _has_tables(parts)
    months = _months_behind() if has_tables else []
    undelivered = _events_given_up() if has_tables else []
    healthy = all(part.health == "healthy" for part in parts)
    whole = healthy and not any(month["state"] in FAILED for month in months)
    if as_json:
        answer = {
            "home": str(home_folder()),
            "healthy": healthy,
            "parts": [dataclasses.asdict(part) for part in parts],
            "months": months,
            "undelivered": undelivered,
        }
        typer.echo(json.dumps(answer, indent=2))
    else:
        for text in (*dict.fromkeys(month["sentence"] for month in months), *undelivered):
            out().print(f"[red]{escape(text)}[/red]", soft_wrap=True)
    if not whole:
        raise typer.Exit(1)


def _has_tables(parts: "list[PartHealth]") -> bool:
    """Return whether Postgres answers and its tables exist, which a starting stack creates."""
    from churn.database.init import has_months

    healthy = any(part.name == "postgres" and part.health == "healthy" for part in parts)
    return healthy and has_months()


def _months_behind() -> list[dict[str, str]]:
    """Return the stages of months that failed or wait behind a failure.

    Dagster takes seconds to load, and is asked only once there are months to ask about.
    """
    from churn.database.init import has_deliveries

    if not has_deliveries():
        return []
    from churn_assets.due import months_behind
    from churn_assets.run import instance

    with instance() as dagster:
        return months_behind(dagster)


def _events_given_up() -> list[str]:
    from churn.events.delivery import given_up

    return given_up()


def feast(context: typer.Context) -> None:
    """Run Feast's own command on the feature repository: its registry is in our Postgres.

    **Examples**

    - `churn feast plan`
    - `churn feast feature-views list`

    `churn feast teardown` removes what is registered and what is served, and asks before it does; `--yes`
    answers for a script.
    """
    arguments = _confirmed(context.args)
    from churn.cli.progress import running
    from churn.settings import get_settings

    with running("postgres", "init"):
        from feature_repo.store import registry_url, repository

        environment = {**os.environ, "FEAST_REGISTRY_URL": registry_url()}
        # Feast changes into the repository, so the path must be absolute.
        environment["CHURN_HOME"] = str(get_settings().home)
        done = subprocess.run(
            [str(Path(sys.executable).with_name("feast")), "-c", str(repository()), *arguments],
            env=environment,
            check=False,
        )
    raise typer.Exit(done.returncode)


def _confirmed(arguments: list[str]) -> list[str]:
    """Return Feast's arguments, once the one command that destroys something is confirmed.

    Raises:
        ChurnError: it is not confirmed.
    """
    if "teardown" not in arguments:
        return arguments
    if "--yes" in arguments:
        return [argument for argument in arguments if argument != "--yes"]
    what = (
        "teardown removes every feature view from the registry, and what is served online with them"
    )
    if sys.stdin.isatty() and typer.confirm(f"{what}. Go on?"):
        return arguments
    raise ChurnError(
        what,
        remedy="say `churn feast teardown --yes` if that is meant; afterwards `churn init` registers the"
        " views, and each month is published by its `online_features`",
    )
