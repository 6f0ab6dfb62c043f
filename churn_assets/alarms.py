"""The sensor that answers an alarm of monitoring: retrain, and let the gate decide."""

import dagster as dg

from churn.intake import command_line_at_work, trainable_months
from churn.monitoring.alarms import Alarm, months_in_time, standing_alarms
from churn.settings import get_settings
from churn_assets.jobs import train_month
from churn_assets.monthly import ALARM_TAG

ALARM_KEY_TAG = "churn/alarm"  # of a run: the alarm that it answers


@dg.sensor(
    name="alarms",
    job=train_month,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Answers a failed `no_drift` or `as_estimated` of the release in force, once: requests train_month "
        "of the newest month whose labels are there, so that the gate decides again and the ledger says so."
    ),
)
def alarms(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Request one training per alarm that stands."""
    if command_line_at_work():
        return dg.SkipReason("a command-line run is at work; alarms are answered after it")
    standing = standing_alarms()
    if not standing:
        return dg.SkipReason("no alarm about the release in force")
    trainable = months_in_time() & trainable_months().keys()
    if not trainable:
        return dg.SkipReason("no month has its labels yet")
    newest = max(trainable)
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                run_key=run_key,
                partition_key=newest.partition_key,
                tags={ALARM_TAG: str(alarm), ALARM_KEY_TAG: alarm.key},
            )
            for alarm in standing
            if (run_key := _run_key(alarm, context))
        ]
    )


def _run_key(alarm: Alarm, context: dg.SensorEvaluationContext) -> str | None:
    """Return the key of the next attempt at answering an alarm; None while there is none to make.

    An answer that failed is asked for again as a month is: a few times, further and further apart.
    """
    runs = context.instance.get_run_records(dg.RunsFilter(tags={ALARM_KEY_TAG: alarm.key}))
    key = f"alarm:{alarm.key}"
    if not runs:
        return key
    delays, newest = get_settings().retry_delays, runs[0]
    failed = newest.dagster_run.status in (
        dg.DagsterRunStatus.FAILURE,
        dg.DagsterRunStatus.CANCELED,
    )
    now = context.last_tick_completion_time
    if not failed or len(runs) > len(delays) or now is None or newest.end_time is None:
        return None
    is_time = newest.end_time + delays[len(runs) - 1].total_seconds() <= now
    return f"{key}:{len(runs) + 1}" if is_time else None
