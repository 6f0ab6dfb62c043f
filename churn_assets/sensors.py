"""Sensors: the drops folder, which launches what new drops allow; and run endings, written to MLflow."""

import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from churn.deliveries.drops import month_of
from churn.errors import ChurnError
from churn.intake import (
    closable_months,
    command_line_at_work,
    scorable_months,
    take_in,
    trainable_months,
)
from churn.months import Month
from churn.records import close_records
from churn.settings import get_settings
from churn_assets.jobs import month_close, score_month, train_month
from churn_assets.partitions import MONTHS


@dg.sensor(
    name="drops_folder",
    jobs=[month_close, train_month, score_month],
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Takes new drops in from the drops folder (CHURN_DROPS, default `drops` in the state folder) and "
        "requests month_close for what was accepted, then train_month for months whose labels are there, "
        "and score_month for closed months, again where another release turns out to have been in force. "
        "A refused drop is a failed `valid` check with the offending rows."
    ),
)
def drops_folder(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Deliver what is new, and request the runs that it makes possible."""
    if command_line_at_work():
        return dg.SensorResult(
            skip_reason="a command-line run is at work; it closes its own months"
        )
    seen = json.loads(context.cursor) if context.cursor else {}
    taken = take_in(get_settings().drops_folder, seen)
    trained = context.instance.get_materialized_partitions(dg.AssetKey("churn_model"))
    requests = [
        _request("month_close", month, delivery) for month, delivery in closable_months().items()
    ] + [
        _request("train_month", month, delivery)
        for month, delivery in trainable_months().items()
        if month.partition_key not in trained
    ]
    requests += [
        _request("score_month", month, version) for month, version in scorable_months().items()
    ]
    for drop, error in taken.refused.items():
        context.log.error(f"{drop} was refused: {error}")
    return dg.SensorResult(
        run_requests=requests,
        asset_events=[_refusal(drop, error) for drop, error in taken.refused.items()],
        cursor=json.dumps(taken.seen),
    )


def _request(job: str, month: Month, version: int | str) -> dg.RunRequest:
    """Ask for a run, once per version of what it works on."""
    return dg.RunRequest(
        run_key=f"{job}:{month}:{version}", job_name=job, partition_key=month.partition_key
    )


def _refusal(drop: str, error: ChurnError) -> dg.AssetCheckEvaluation:
    month = month_of(Path(drop), get_settings().first_month)
    key = month.partition_key if month else ""
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey("users"),
        check_name="valid",
        passed=False,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"the drop {drop} was refused, nothing was taken in",
        metadata={"problems": dg.MetadataValue.md(str(error))},
        blocking=True,
        partition=key if MONTHS.has_partition_key(key) else None,
    )


def run_endings() -> Iterator[dg.SensorDefinition]:
    """Yield one sensor per way in which a run ends: each closes the run's MLflow records."""
    for status in (
        dg.DagsterRunStatus.SUCCESS,
        dg.DagsterRunStatus.FAILURE,
        dg.DagsterRunStatus.CANCELED,
    ):
        yield _run_ending(status)


def _run_ending(status: dg.DagsterRunStatus) -> dg.SensorDefinition:
    @dg.run_status_sensor(
        run_status=status,
        name=f"records_of_{status.value.lower()}",
        minimum_interval_seconds=5,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Ends the MLflow run of a Dagster run as the Dagster run ended.",
    )
    def ending(context: dg.RunStatusSensorContext) -> None:
        close_records(context.dagster_run.run_id, succeeded=status == dg.DagsterRunStatus.SUCCESS)

    return ending
