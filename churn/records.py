"""A record in MLflow of every materialization: of which asset and month, by which run, and how it went."""

import contextlib
import datetime as dt
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from churn.lineage import LineageStep, tell_lineage
from churn.mlflow_client import mlflow_client
from churn.settings import get_settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

LOG = logging.getLogger(__name__)
PARENT_TAG = "mlflow.parentRunId"
DAGSTER_RUN_TAG = "dagster_run_id"  # dagster-mlflow's own tag


@dataclass
class MaterializationRecord:
    """One nested MLflow run: one asset, one partition, one Dagster run."""

    run_id: str
    parent_run_id: str
    metrics: dict[str, float] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


class Tracking(Protocol):
    """What dagster-mlflow's resource offers once it has its MLflow run."""

    tracking_client: "MlflowClient"
    experiment: "Experiment"
    dagster_run_id: str
    # The MLflow run that stands for the Dagster run.
    parent_id: str


@contextlib.contextmanager
def recorded(
    asset: str,
    partition: str,
    tracking: Tracking,
    *,
    attempt: int = 0,
    inputs: Sequence[str] = (),
) -> Iterator[MaterializationRecord]:
    """Record one materialization; the record ends FINISHED, or FAILED with the error's text.

    A repeated step continues the record of the attempt before: one materialization is one record, which ends
    as its last attempt did.

    Args:
        asset: the asset's key.
        partition: the month's partition key.
        tracking: the resource of the Dagster run that materializes it.
        attempt: how often the step has been repeated.
        inputs: the keys of the assets that it reads.
    """
    client = tracking.tracking_client
    record = MaterializationRecord(_begin(asset, partition, tracking, attempt), tracking.parent_id)
    if attempt:
        record.tags["attempts"] = str(attempt + 1)
    started = dt.datetime.now(dt.UTC)
    step = LineageStep(record.run_id, asset, partition, inputs)
    tell_lineage(step, "START", started)
    try:
        yield record
    except BaseException as error:
        record.tags["error"] = str(error)[:5000]
        try:
            _end(client, record, "FAILED", started)
        except Exception as second_error:
            # What went wrong first is what must be reported.
            LOG.warning("the record of %s %s stays open: %s", asset, partition, second_error)
        tell_lineage(step, "FAIL", dt.datetime.now(dt.UTC))
        raise
    _end(client, record, "FINISHED", started)
    tell_lineage(
        step,
        "COMPLETE",
        dt.datetime.now(dt.UTC),
        rows=record.metrics.get("rows"),
        version=record.params.get("fingerprint", ""),
    )


def _begin(asset: str, partition: str, tracking: Tracking, attempt: int) -> str:
    """Return the id of the MLflow run to record in: that of the attempt before, where there is one."""
    client = tracking.tracking_client
    tags = {
        PARENT_TAG: tracking.parent_id,
        "asset": asset,
        "partition": partition,
        "dagster_run": tracking.dagster_run_id,
    }
    if attempt:
        for run in _search(client, tags, newest=1):
            run_id = str(run.info.run_id)
            client.update_run(run_id, status="RUNNING")
            if "error" in run.data.tags:
                client.delete_tag(run_id, "error")
            return run_id
    created = client.create_run(
        tracking.experiment.experiment_id, run_name=f"{asset} {partition}", tags=tags
    )
    return str(created.info.run_id)


def _end(
    client: "MlflowClient", record: MaterializationRecord, status: str, started: dt.datetime
) -> None:
    from mlflow.entities import Metric, Param, RunTag

    ended = dt.datetime.now(dt.UTC)
    record.metrics["duration_sec"] = (ended - started).total_seconds()
    stamp = int(ended.timestamp() * 1000)
    client.log_batch(
        record.run_id,
        metrics=[Metric(name, value, stamp, 0) for name, value in record.metrics.items()],
        params=[Param(name, value) for name, value in record.params.items()],
        tags=[RunTag(name, value) for name, value in record.tags.items()],
    )
    client.set_terminated(record.run_id, status)


def close_records(dagster_run_id: str, *, succeeded: bool) -> None:
    """End the MLflow runs of a Dagster run that has ended: its own, and the records that killed steps left.

    A record that is still running belongs to a step that never returned, so it failed, however the run ended.
    """
    tracking = mlflow_client()
    for run in _search(tracking, {DAGSTER_RUN_TAG: dagster_run_id}):
        if PARENT_TAG in run.data.tags:
            # This is the run of a model, which was ended with the model.
            continue
        for child in _search(tracking, {PARENT_TAG: run.info.run_id}, status="RUNNING"):
            tracking.set_terminated(child.info.run_id, "FAILED")
        tracking.set_terminated(run.info.run_id, "FINISHED" if succeeded else "FAILED")


def record_check(asset: str, partition: str | None, check: str, *, passed: bool) -> None:
    """Add the result of a check that ran later to the newest record of its asset, and month if given."""
    wanted = {"asset": asset} | ({"partition": partition} if partition else {})
    tracking = mlflow_client()
    for run in _search(tracking, wanted, newest=1):
        tracking.set_tag(run.info.run_id, f"check.{check}", "passed" if passed else "failed")


def _search(
    tracking: "MlflowClient",
    tags: Mapping[str, str],
    *,
    status: str | None = None,
    newest: int | None = None,
) -> list["Run"]:
    experiment = tracking.get_experiment_by_name(get_settings().mlflow_experiment)
    if experiment is None:
        return []
    wanted = [f"tags.`{name}` = '{value}'" for name, value in tags.items()]
    if status:
        wanted.append(f"attributes.status = '{status}'")
    return list(
        tracking.search_runs(
            [experiment.experiment_id],
            filter_string=" and ".join(wanted),
            order_by=["attributes.start_time DESC"],
            max_results=newest or 1000,
        )
    )
