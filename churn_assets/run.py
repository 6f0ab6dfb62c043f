"""Months through the graph in one process, on the same Dagster instance: no queue, no poll, same history."""

import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import dagster as dg
from dagster._core.events import RunFailureReason

from churn.months import Month
from churn.records import close_records
from churn.settings import get_settings
from churn_assets.storage import keep_connections

CheckState = Literal["passed", "warned", "failed"]

# The bars and the summary speak; every event is in the UI.
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class JobResult:
    """How one job ended for one month."""

    job: str
    month: Month
    run_id: str
    succeeded: bool
    failures: tuple[str, ...]  # failed blocking checks and steps, in words
    checks: Mapping[str, CheckState]  # asset.check -> how it came out
    seconds: float  # from its start to its records closed


@contextmanager
def instance() -> Iterator[dg.DagsterInstance]:
    """Open the Dagster instance of the state folder, the one that the UI shows."""
    settings = get_settings()
    # dagster.yaml names these variables; the settings know them from wherever they were set.
    os.environ.update(
        POSTGRES_HOST=settings.postgres_host,
        POSTGRES_PORT=str(settings.postgres_port),
        POSTGRES_USER=settings.postgres_user,
        POSTGRES_PASSWORD=settings.postgres_password.get_secret_value(),
        POSTGRES_SSLMODE=settings.postgres_sslmode,
        PGSSLMODE=settings.postgres_sslmode,  # what dagster-postgres heeds
    )
    os.environ.setdefault("DAGSTER_HOME", str(settings.home / "dagster"))
    with dg.DagsterInstance.get() as found:
        keep_connections(found)
        yield found


def run_job(
    job: str,
    month: Month,
    found: dg.DagsterInstance,
) -> JobResult:
    """Run one job for one month in this process.

    Args:
        job: `month_close`, `train_month` or `score_month`.
        month: the partition.
        found: the Dagster instance to record on.
    """
    from churn_assets.definitions import defs

    run_id, started = str(uuid.uuid4()), time.perf_counter()
    succeeded = False
    try:
        result = defs.resolve_job_def(job).execute_in_process(
            partition_key=month.partition_key,
            instance=found,
            raise_on_error=False,
            run_id=run_id,
            tags={"churn/launched_by": "command line"},
            run_config=_QUIET,
        )
        succeeded = result.success
    finally:
        close_records(run_id, succeeded=succeeded)
    if any(_is_interruption(event) for event in result.all_events):
        raise KeyboardInterrupt  # Dagster kept it to itself, as the failure of one run
    failures, checks = _said_by(result.all_events)
    seconds = time.perf_counter() - started
    return JobResult(job, month, run_id, succeeded, failures, checks, seconds)


def _said_by(events: Iterable[dg.DagsterEvent]) -> tuple[tuple[str, ...], dict[str, CheckState]]:
    """Return what failed, in words, and how each check came out."""
    checks: dict[str, CheckState] = {}
    failures: list[str] = []
    for event in events:
        if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            found = event.asset_check_evaluation_data
            name = f"{found.asset_key.to_user_string()}.{found.check_name}"
            is_error = found.severity == dg.AssetCheckSeverity.ERROR
            checks[name] = "passed" if found.passed else "failed" if is_error else "warned"
            if checks[name] == "failed":
                failures.append(f"{name}: {found.description or 'failed'}")
        elif event.is_step_failure:
            failures.append(f"{event.step_key}: {_said(event.step_failure_data)}")
    return tuple(failures), checks


def _is_interruption(event: dg.DagsterEvent) -> bool:
    return (
        event.event_type == dg.DagsterEventType.RUN_FAILURE
        and event.job_failure_data.failure_reason == RunFailureReason.UNEXPECTED_TERMINATION
    )


def _said(failure: Any) -> str:
    """Return what a failed step said: our own words where there are any, else the innermost error."""
    if failure.user_failure_data and failure.user_failure_data.description:
        return str(failure.user_failure_data.description)
    error = failure.error
    while error and error.cause:
        error = error.cause
    return str(error.message).strip() if error else "failed"
