"""`churn feast`: Feast's own command on our feature repository and registry."""

import os
import subprocess
import sys
from pathlib import Path

import typer

from churn.errors import ChurnError


def feast(context: typer.Context) -> None:
    """Run Feast's own command on the feature repository: its registry is in our Postgres.

    **Examples**

    - `churn feast plan`
    - `churn feast feature-views list`

    `churn feast teardown` takes away what is registered and what is served, and asks before it does;
    `--yes` answers for a script.
    """
    arguments = _confirmed(context.args)
    from churn.cli.progress import running
    from churn.settings import get_settings

    with running("postgres", "init"):
        from feature_repo.store import registry_url, repository

        environment = {**os.environ, "FEAST_REGISTRY_URL": registry_url()}
        environment["CHURN_HOME"] = str(get_settings().home)  # feast changes into the repository
        done = subprocess.run(
            [str(Path(sys.executable).with_name("feast")), "-c", str(repository()), *arguments],
            env=environment,
            check=False,
        )
    raise typer.Exit(done.returncode)


def _confirmed(arguments: list[str]) -> list[str]:
    """Return Feast's arguments; the one command that destroys something needs a yes."""
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
