"""`churn up`: start the stack and leave it running."""

import typer

from churn.cli.screen import err, health_table, out, stack_progress


def up() -> None:
    """Start Postgres, MLflow, the API and Dagster, and leave them running.

    What runs already is left as it is, so a second `up` only says where everything is. State lives in
    `.churn/` (or CHURN_HOME); ports come from DAGSTER_PORT (3000), MLFLOW_PORT (5000) and API_PORT
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
    err().print("`churn status` asks again, `churn down` stops it all")
    if any(part.health != "healthy" for part in parts):
        raise typer.Exit(1)
