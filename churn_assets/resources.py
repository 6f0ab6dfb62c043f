"""What runs share: dagster-mlflow's resource (one MLflow run per Dagster run), and connections to storage."""

import contextlib
import functools
import warnings
from collections.abc import Iterator
from typing import Any

import dagster as dg

from churn.database import connect, lock
from churn.errors import ChurnError
from churn.mlflow_client import experiment_id, mlflow_client
from churn.retry import is_passing, repeat_patiently
from churn.settings import get_settings, home_folder
from churn.stack.processes import log_of
from churn.stack.record import lost


# Cached, since a second call would throw away the connection pool of the first.
@functools.lru_cache(maxsize=1)
def keep_connections(instance: dg.DagsterInstance) -> None:
    """Let a process that runs months keep its connections, as Dagster's webserver does.

    Otherwise dagster-postgres opens one per statement: 676 for one month_close, which takes most of its time.
    """
    instance.optimize_for_webserver(statement_timeout=0, pool_recycle=3600, max_overflow=20)
    log: Any = instance.event_log_storage
    # These are asked before every event, about tables that no run changes.
    log.has_table = functools.cache(log.has_table)
    log.has_asset_key_col = functools.cache(log.has_asset_key_col)


@contextlib.contextmanager
def no_retry_in_vain() -> Iterator[None]:
    """Let no failure pass for one that may pass by itself where a part died that nobody restarts.

    The first failure is then told as it is: each further attempt would wait, and end in the same way.

    Raises:
        ChurnError: the block failed in a way that may pass, and a part of the stack is lost.
    """
    try:
        yield
    except Exception as error:
        if not is_passing(error) or not (parts := lost(home_folder())):
            raise
        # The remedy of an error of ours is for stacks that somebody can start.
        seen = error.what if isinstance(error, ChurnError) else error
        # Without a cause, so that nobody takes it for a failure that passes.
        raise ChurnError(
            f"{' and '.join(parts)} died under the command that had started it: {seen}",
            remedy="run the command again, what is done stays done; the part's log is "
            f"{log_of(home_folder(), parts[0])}",
        ) from None


def mlflow_resource() -> dg.ResourceDefinition:
    """Return dagster-mlflow's resource, configured from the settings.

    Three things are added. Its search-then-create runs under a lock, so that parallel steps of one Dagster
    run share one MLflow run. It is retried where MLflow or Postgres is being restarted, since a failure here
    fails the whole run, which no step can retry. And the run is left open but not active in this process:
    MLflow would end an active run as FINISHED when the process exits, even a failed one. Run-status sensors
    end it.
    """
    # dagster-mlflow imports mlflow, which takes seconds, so it is not imported when the graph is loaded.
    settings = get_settings()

    def build(context: dg.InitResourceContext) -> Iterator[Any]:
        # In a process that the daemon has launched, this is the first code of ours.
        if context.instance:
            keep_connections(context.instance)
        resource, tracking = repeat_patiently(_opened, context)
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


@no_retry_in_vain()
def _opened(context: dg.InitResourceContext) -> tuple[Any, Any]:
    """Return dagster-mlflow's started resource, and what it gives to the steps."""
    import mlflow

    # If MLflow does not answer, this raises our own error.
    experiment_id(mlflow_client(), get_settings().mlflow_experiment)
    with connect() as connection, warnings.catch_warnings(), _no_active_run():
        # dagster-mlflow is in beta, and uses what Dagster has deprecated.
        warnings.simplefilter("ignore")
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
    return resource, tracking


@contextlib.contextmanager
def _no_active_run() -> Iterator[None]:
    """Leave no run active after a failure, which the next attempt would take for its own."""
    import mlflow

    try:
        yield
    finally:
        while mlflow.active_run():
            # MLflow forgets the active run even if ending it fails.
            with contextlib.suppress(mlflow.MlflowException):
                mlflow.end_run()


def _run_name(context: dg.InitResourceContext) -> str:
    """Return the job and its months, such as `month_close 2024-01-01`."""
    if context.run is None:
        return "churn"
    tags = context.run.tags
    first = tags.get("dagster/partition") or tags.get("dagster/asset_partition_range_start", "")
    last = tags.get("dagster/asset_partition_range_end", "")
    job = context.run.job_name.removeprefix("__")
    return " ".join(part for part in (job, first, f"to {last}" if last else "") if part)
