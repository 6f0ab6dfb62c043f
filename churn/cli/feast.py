"""`churn feast`: Feast's own command on our feature repository and registry."""

import os
import subprocess
import sys
from pathlib import Path

import typer


def feast(context: typer.Context) -> None:
    """Run Feast's own command on the feature repository: its registry is in our Postgres.

    **Examples**

    - `churn feast plan`
    - `churn feast feature-views list`
    """
    from churn.cli.progress import running
    from churn.settings import get_settings

    with running("postgres", "init"):
        from feature_repo.store import registry_url, repository

        environment = {**os.environ, "FEAST_REGISTRY_URL": registry_url()}
        environment["CHURN_HOME"] = str(get_settings().home)  # feast changes into the repository
        done = subprocess.run(
            [str(Path(sys.executable).with_name("feast")), "-c", str(repository()), *context.args],
            env=environment,
            check=False,
        )
    raise typer.Exit(done.returncode)
