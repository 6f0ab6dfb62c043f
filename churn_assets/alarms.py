"""The sensor that answers an alarm of monitoring: retrain, and let the gate decide."""

import dagster as dg

from churn.due import due_again_at
from churn.intake import command_line_at_work, trainable_months
from churn.monitoring.alarms import Alarm, months_in_time, standing_alarms
from churn.months import Month
from churn.settings import get_settings
from churn_assets.due import attempt_number, ended_at, tick_time
from churn_assets.jobs import ATTEMPT_TAG, train_month
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
            _request(alarm, attempt, newest)
            for alarm in standing
            if (attempt := _next_attempt(alarm, context))
        ]
    )


def _request(alarm: Alarm, attempt: int, month: Month) -> dg.RunRequest:
    again = f":{attempt}" if attempt > 1 else ""
    return dg.RunRequest(
        run_key=f"alarm:{alarm.key}{again}",
        partition_key=month.partition_key,
        tags={ALARM_TAG: str(alarm), ALARM_KEY_TAG: alarm.key, ATTEMPT_TAG: str(attempt)},
    )


def _next_attempt(alarm: Alarm, context: dg.SensorEvaluationContext) -> int | None:
    """Return the number of the next attempt at answering an alarm; None while there is none to make.

    An answer that failed is asked for again as a month is: a few times, further and further apart.
    """
    runs = context.instance.get_run_records(dg.RunsFilter(tags={ALARM_KEY_TAG: alarm.key}))
    if not runs:
        return 1
    newest, now = runs[0], tick_time(context)
    failed = newest.dagster_run.status in (
        dg.DagsterRunStatus.FAILURE,
        dg.DagsterRunStatus.CANCELED,
    )
    again_at = due_again_at(ended_at(newest), len(runs), get_settings().retry_delays)
    if not failed or again_at is None or now is None or now < again_at:
        return None
    return max(attempt_number(record.dagster_run) for record in runs) + 1
