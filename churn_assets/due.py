"""What is due, from Dagster's run records: the past runs of the three jobs, and the runs to request next.

The sensor and the command line share it, so both retry a month that failed in the same way. Attempts are
counted from the run records, so a restart of the daemon forgets nothing. The rules themselves are
`churn.schedule.due`.
"""

import dataclasses
import datetime as dt
from collections.abc import Iterator
from typing import Any, NamedTuple

import dagster as dg

from churn.months import Month
from churn.schedule.due import JOBS, Attempt, Due, Job, is_behind, stage_states
from churn.schedule.facts import read_facts
from churn.schedule.sentences import keep_months_behind, sentences_by_root
from churn.settings import get_settings
from churn_assets.event_texts import what_failed
from churn_assets.jobs import ATTEMPT_TAG, CLOSE_KEYS, SCORE_KEYS, TRAIN_KEYS, VERSION_TAG
from churn_assets.monthly import ALARM_TAG

PARTITION_TAG = "dagster/partition"
STOPPED = "it was stopped by a person"
_MOST_FAILURES_KEPT = 512
# A command does not wait for the next attempt to be due.
_ASSETS: dict[Job, list[str]] = {
    "month_close": CLOSE_KEYS,
    "train_month": TRAIN_KEYS,
    "score_month": SCORE_KEYS,
}
_EVENTS = {
    dg.DagsterEventType.STEP_SUCCESS,
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.RUN_FAILURE,
    dg.DagsterEventType.RUN_CANCELED,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
}


def look_at(instance: dg.DagsterInstance) -> list[Due]:
    """Return the state of every stage of every month, and store what is wrong for those who show it."""
    # Read before the facts, so that the facts include whatever a finished run has made.
    attempts = list(_attempts(instance))
    items = _look(instance, attempts)
    keep_months_behind(items)
    return items


def months_behind(instance: dg.DagsterInstance) -> list[dict[str, str]]:
    """Return what failed or waits behind a failure as JSON values, each with a sentence about it."""
    items = _look(instance, list(_attempts(instance)))
    told = sentences_by_root(items)
    return [
        {
            "month": str(item.month),
            "stage": item.stage,
            "state": item.state,
            "sentence": told[item.behind or (item.stage, item.month)],
        }
        for item in items
        if is_behind(item, items)
    ]


def _look(instance: dg.DagsterInstance, attempts: list[Attempt]) -> list[Due]:
    trained = instance.get_materialized_partitions(dg.AssetKey("churn_model"))
    facts = dataclasses.replace(
        read_facts(), trained=frozenset(Month.parse(key) for key in trained)
    )
    return stage_states(facts, attempts, _ASSETS, get_settings().retry_delays)


def run_request(item: Due) -> dg.RunRequest:
    """Return the request for the run of what is due; every attempt has its own key."""
    attempt = item.asked + 1
    again = f":{attempt}" if attempt > 1 else ""
    return dg.RunRequest(
        run_key=f"{item.stage}:{item.month}:{item.version}{again}",
        job_name=item.stage,
        partition_key=item.month.partition_key,
        tags=run_tags(item),
        asset_selection=[dg.AssetKey(name) for name in item.left] or None,
    )


def run_tags(item: Due) -> dict[str, str]:
    """Return the tags by which a run is later recognised as an attempt at what was due."""
    return {
        VERSION_TAG: item.version,
        ATTEMPT_TAG: str(item.asked + 1),
        # Retries are requested by us: if Dagster's daemon retried too, the run would happen twice at once.
        "dagster/max_retries": "0",
    }


def _attempts(instance: dg.DagsterInstance) -> Iterator[Attempt]:
    """Yield the runs of the three jobs, the newest first; failed ones that still matter with the reason."""
    # Those of which a newer run succeeded.
    settled: set[tuple[Job, str]] = set()
    for job in JOBS:
        for record in instance.get_run_records(dg.RunsFilter(job_name=job)):
            run = record.dagster_run
            key = run.tags.get(PARTITION_TAG)
            # Attempts at a training that an alarm asked for are counted separately.
            if key is None or ALARM_TAG in run.tags:
                continue
            attempt = Attempt(
                job,
                Month.parse(key),
                run.tags.get(VERSION_TAG),
                "succeeded"
                if run.status == dg.DagsterRunStatus.SUCCESS
                else "failed"
                if run.is_finished
                else "under way",
                ended_at(record),
                number=attempt_number(run),
            )
            if attempt.state == "failed" and (job, key) not in settled:
                why = _failure(instance, run.run_id)
                attempt = dataclasses.replace(attempt, **why._asdict())
                if run.status == dg.DagsterRunStatus.CANCELED:
                    # Whoever stopped it does not want it to come back a minute later.
                    attempt = dataclasses.replace(attempt, error=STOPPED, is_refused=True)
            if attempt.state == "succeeded":
                settled.add((job, key))
            yield attempt


def attempt_number(run: dg.DagsterRun) -> int:
    """Return the number of the attempt that a run was requested as; an unnumbered run is the first."""
    tag = run.tags.get(ATTEMPT_TAG, "")
    return int(tag) if tag.isdecimal() else 1


class _Failure(NamedTuple):
    """Why a run failed, whether a check refused its month for good, and which of its steps were finished."""

    error: str
    is_refused: bool
    finished: frozenset[str]


_failures: dict[str, _Failure] = {}


def _failure(instance: dg.DagsterInstance, run_id: str) -> _Failure:
    """Return why a run failed; this is cached, since a run that has ended does not change."""
    if run_id not in _failures:
        if len(_failures) >= _MOST_FAILURES_KEPT:
            _failures.clear()
        _failures[run_id] = _read_failure(instance, run_id)
    return _failures[run_id]


def _read_failure(instance: dg.DagsterInstance, run_id: str) -> _Failure:
    entries = instance.all_logs(run_id, of_type=_EVENTS)
    events = [entry.dagster_event for entry in entries if entry.dagster_event]
    finished = {event.step_key for event in events if event.is_step_success and event.step_key}
    failed_checks = [
        event.asset_check_evaluation_data
        for event in events
        if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION
    ]
    return _Failure(
        what_failed(events),
        any(_is_blocking(check) for check in failed_checks if not check.passed),
        frozenset(finished),
    )


def _is_blocking(check: dg.AssetCheckEvaluation) -> bool:
    return bool(check.blocking) and check.severity == dg.AssetCheckSeverity.ERROR


def ended_at(record: Any) -> dt.datetime:
    """Return when a run ended or, if that is not recorded, when it was last updated."""
    ended = record.end_time
    return dt.datetime.fromtimestamp(ended, dt.UTC) if ended else _aware(record.update_timestamp)


def tick_time(context: dg.SensorEvaluationContext) -> dt.datetime | None:
    """Return the time of a sensor's last tick; None at the first one, when nothing is retried."""
    ticked = context.last_tick_completion_time
    return dt.datetime.fromtimestamp(ticked, dt.UTC) if ticked else None


def _aware(moment: dt.datetime) -> dt.datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
