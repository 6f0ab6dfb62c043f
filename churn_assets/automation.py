"""What starts runs without a person: the drops folder, and alarms of monitoring; what follows runs; events.

The schedule of late drops launches nothing: it reports late drops and failed months. What is due is decided
in `churn.schedule`. Sensors: https://docs.dagster.io/guides/automate/sensors
"""

import json
import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import dagster as dg

from churn.contract.in_force import USERS
from churn.deliveries.drop_outcomes import keep_outcomes, outcomes_of
from churn.deliveries.drops import Stray
from churn.deliveries.drops_folder import FolderScan, NotTaken, keep_standing, read_cursor, take_in
from churn.events.delivery import deliver_due
from churn.events.targets import targets_of
from churn.markdown import plain
from churn.monitoring.watch import Alarm, months_in_time, standing_alarms
from churn.months import Month
from churn.records import close_records
from churn.schedule.due import askable, due_again_at
from churn.schedule.facts import command_line_at_work, late_months, trainable_months
from churn.schedule.sentences import sentences
from churn.settings import get_settings
from churn_assets.due import attempt_number, ended_at, look_at, run_request, tick_time
from churn_assets.jobs import ATTEMPT_TAG, month_close, score_month, train_month
from churn_assets.monthly import ALARM_TAG, MONTHS


@dg.sensor(
    name="drops_folder",
    jobs=[month_close, train_month, score_month],
    minimum_interval_seconds=get_settings().look_seconds,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Takes in new drops from the drops folder (CHURN_DROPS, default `drops` in the state folder). It "
        "requests month_close for what was accepted, then train_month for months whose labels are there, and "
        "score_month for closed months; the latter again if another release turns out to have been in force. "
        "A month that failed is requested again at growing intervals (CHURN_RETRY_MINUTES), then given up "
        "and named. A refused drop is a failed `valid` check with the offending rows, and is tried again "
        "when time, settings or other deliveries may have changed the answer. What is not a drop is passed "
        "over, and named."
    ),
)
def drops_folder(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Deliver new drops, and request the runs that they make possible."""
    if command_line_at_work():
        return dg.SensorResult(
            skip_reason="a command-line run is at work; it closes its own months"
        )
    folder, cursor = get_settings().drops_folder, read_cursor(context.cursor)
    now = datetime.now(UTC)
    look = take_in(folder, cursor, now=now)
    keep_standing(look, now)
    keep_outcomes(outcomes_of(look))
    _say(context.log, look)
    months = look_at(context.instance)
    for text in sentences(months):
        context.log.warning(text)
    return dg.SensorResult(
        run_requests=[run_request(item) for item in askable(months, tick_time(context))],
        asset_events=list(_events(look)),
        cursor=json.dumps(look.cursor),
    )


def _say(log: logging.Logger, look: FolderScan) -> None:
    """Log what is not taken in, once for each reason."""
    for drop, not_taken in look.refused.items():
        if not_taken.waits:
            log.info(f"{drop} waits: {not_taken.error}")
        else:
            log.error(f"{drop} was refused: {not_taken.error}")
    for stray in look.strays:
        log.warning(f"passed over in the drops folder: {stray}")


def _events(look: FolderScan) -> Iterator[dg.AssetCheckEvaluation | dg.AssetObservation]:
    """Yield the same as events of the asset `users`: errors, warnings, and drops that only wait."""
    for drop, not_taken in look.refused.items():
        if not_taken.waits:
            yield dg.AssetObservation(
                USERS.name,
                partition=_partition(not_taken.month),
                description=f"the drop {drop} waits",
                metadata={"waits": dg.MetadataValue.text(str(not_taken.error))},
            )
        else:
            yield _refusal(drop, not_taken)
    if look.strays:
        yield _passed_over(look.strays)


def _refusal(drop: str, not_taken: NotTaken) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(USERS.name),
        check_name="valid",
        passed=False,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"the drop {drop} was refused, nothing of it was taken in",
        metadata={"problems": dg.MetadataValue.text(str(not_taken.error))},
        blocking=True,
        partition=_partition(not_taken.month),
    )


def _passed_over(strays: Sequence[Stray]) -> dg.AssetCheckEvaluation:
    listed = "\n".join(f"- {plain(stray)}" for stray in strays)
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(USERS.name),
        check_name="valid",
        passed=False,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"passed over in the drops folder: {'; '.join(map(str, strays))}",
        metadata={"passed_over": dg.MetadataValue.md(listed)},
    )


def _partition(month: Month) -> str | None:
    """Return the month's partition, or None if the graph does not have the month (yet)."""
    return month.partition_key if MONTHS.has_partition_key(month.partition_key) else None


def run_endings() -> Iterator[dg.SensorDefinition]:
    """Yield one sensor for each way in which a run can end; it closes the run's MLflow records."""
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


@dg.schedule(
    job=month_close,
    cron_schedule="0 6 3 * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description=(
        "On the third of each month, names the closed months whose drop has not been accepted, here and as "
        "an observation on `users`, and what has failed or waits behind a failure. Only sensors request runs."
    ),
)
def late_drops(context: dg.ScheduleEvaluationContext) -> dg.SkipReason:
    """Report the closed months without an accepted drop, as of the tick."""
    last_closed = Month.of_as_of(context.scheduled_execution_time).shift(-1)
    late = late_months(last_closed)
    for month in late:
        context.instance.report_runless_asset_event(
            dg.AssetObservation(
                USERS.name,
                partition=month.partition_key,
                description=f"the drop of {month} is late",
                metadata={"late": True, "closed_on": str(month.as_of_date)},
            )
        )
    report = f"every drop up to {last_closed} is here"
    if late:
        report = f"late drops: {', '.join(map(str, late))}; deliver them: churn deliver DIR"
    return dg.SkipReason("\n".join([report, *sentences(look_at(context.instance))]))


# The tag of a run that names the alarm which it answers.
ALARM_KEY_TAG = "churn/alarm"


@dg.sensor(
    name="alarms",
    job=train_month,
    minimum_interval_seconds=get_settings().look_seconds,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Answers each failed `no_drift` or `as_estimated` of the release in force once: it requests "
        "train_month for the newest month whose labels are there, so that the gate decides again and the "
        "ledger says why."
    ),
)
def alarms(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Request one training for each standing alarm."""
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
    """Return the number of the next attempt at answering an alarm, or None while none is due.

    An answer that failed is requested again as a month is: a few times, at growing intervals.
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


@dg.sensor(
    name="events",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Sends what has happened (a month closed, a drop refused, a list ready, a release put into force, an "
        "alarm) to where CHURN_EVENTS_* say, and what was not received again at growing intervals. It asks "
        "for no runs. Without such a setting it sends nothing."
    ),
)
def events(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Deliver the events that are due."""
    settings = get_settings().events
    attempts = deliver_due(targets_of(settings), settings.retry_delays, datetime.now(UTC))
    for attempt in attempts:
        if attempt.is_given_up:
            context.log.error(str(attempt))
        elif attempt.problem:
            context.log.warning(str(attempt))
    return dg.SkipReason("\n".join(map(str, attempts)) or "nothing is due")
