"""The MLflow resource: dagster-mlflow's, such that one Dagster run is one MLflow run."""

import warnings
from collections.abc import Iterator
from typing import Any

import dagster as dg

from churn.database import connect, lock
from churn.mlflow_client import experiment_id, mlflow_client
from churn.settings import get_settings
from churn_assets.storage import keep_connections


def mlflow_resource() -> dg.ResourceDefinition:
    """Return dagster-mlflow's resource, configured from the settings.

    Two things are added. Its search-then-create runs under a lock, so that parallel steps of one Dagster
    run share one MLflow run. And the run is left open but not active in this process: MLflow would end
    an active run as FINISHED when the process exits, a failed one included. Run-status sensors end it.
    """
    # dagster-mlflow imports mlflow, which takes seconds: not when the graph is merely loaded.
    settings = get_settings()

    def build(context: dg.InitResourceContext) -> Iterator[Any]:
        import mlflow

        if context.instance:  # the first code of ours in a process that the daemon has launched
            keep_connections(context.instance)
        # Says at once, and in words, when MLflow does not answer.
        experiment_id(mlflow_client(), get_settings().mlflow_experiment)
        with connect() as connection, warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # dagster-mlflow is beta and uses what Dagster deprecated
            from dagster_mlflow.resources import mlflow_tracking

            lock(connection, f"mlflow.{context.run.run_id if context.run else ''}")
            resource = mlflow_tracking.resource_fn(context)
            tracking = next(resource)
            run = mlflow.active_run()
            assert run is not None  # noqa: S101  (the resource has just started it)
            tracking.parent_id = run.info.run_id
            mlflow.set_tag("mlflow.runName", _run_name(context))
            mlflow.end_run()
            tracking.tracking_client.update_run(run.info.run_id, status="RUNNING")
        yield tracking
        resource.close()

    return dg.ResourceDefinition(
        build,
        config_schema=dg.Permissive(),  # type: ignore[no-untyped-call]
        description="dagster-mlflow's tracking resource; every materialization is a nested run of it.",
    ).configured(
        {
            "experiment_name": settings.mlflow_experiment,
            "mlflow_tracking_uri": settings.mlflow_tracking_uri,
            "env": {},
            "extra_tags": {},
        }
    )


def _run_name(context: dg.InitResourceContext) -> str:
    """Return the job and its months: `month_close 2024-01-01`."""
    if context.run is None:
        return "churn"
    tags = context.run.tags
    first = tags.get("dagster/partition") or tags.get("dagster/asset_partition_range_start", "")
    last = tags.get("dagster/asset_partition_range_end", "")
    job = context.run.job_name.removeprefix("__")
    return " ".join(part for part in (job, first, f"to {last}" if last else "") if part)
