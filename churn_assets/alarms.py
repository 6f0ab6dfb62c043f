"""The sensor that answers an alarm of monitoring: retrain, and let the gate decide."""

import dagster as dg

from churn.intake import command_line_at_work, trainable_months
from churn.monitoring.alarms import months_in_time, standing_alarms
from churn_assets.jobs import train_month
from churn_assets.monthly import ALARM_TAG


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
                run_key=f"alarm:{alarm.key}",
                partition_key=newest.partition_key,
                tags={ALARM_TAG: str(alarm)},
            )
            for alarm in standing
        ]
    )
