"""Running a job of a month in this process, on the stack's Dagster instance: no queue, the same history."""

import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.events import RunFailureReason
from dagster._core.execution.api import (
    ExecuteRunWithPlanIterable,
    create_execution_plan,
    job_execution_iterator,
)
from dagster._core.execution.context_creation_job import (
    PlanOrchestrationContextManager,
    orchestration_context_event_generator,
)
from dagster._core.execution.execute_in_process import merge_run_tags
from dagster._core.remote_origin import (
    GrpcServerCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.storage.tags import REPOSITORY_LABEL_TAG

from churn.errors import ChurnError
from churn.months import Month
from churn.records import close_records
from churn.schedule.facts import read_facts
from churn.settings import get_settings
from churn_assets.event_texts import CheckState, failures_and_checks, warnings_in
from churn_assets.jobs import VERSION_TAG
from churn_assets.liveness import alive, process_tag
from churn_assets.resources import keep_connections

# The command shows progress and a summary; every event is in the UI.
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
_TAGS = {
    "churn/launched_by": "command line",
    # Whoever waits for a command sees it fail, and decides what to do.
    "dagster/max_retries": "0",
}


@dataclass(frozen=True)
class JobResult:
    """How one job ended for one month.

    Attributes:
        job: its name.
        month: the partition.
        run_id: the Dagster run.
        succeeded: whether the run did.
        failures: sentences about failed blocking checks and steps.
        checks: the result of each check, by `asset.check`.
        seconds: from its start until its records were closed.
        warnings: sentences about failed checks that block nothing.
    """

    job: str
    month: Month
    run_id: str
    succeeded: bool
    failures: tuple[str, ...]
    checks: Mapping[str, CheckState]
    seconds: float
    warnings: tuple[str, ...] = ()

    def after(self, before: "JobResult") -> "JobResult":
        """Return the result of both attempts, of which this one made only what the earlier one had left."""
        checks = {**before.checks, **self.checks}
        kept = [
            failure
            for failure in before.failures
            if before.checks.get(name := failure.partition(":")[0]) == "failed"
            and name not in self.checks
        ]
        return replace(
            self,
            checks=checks,
            failures=(*kept, *self.failures),
            seconds=before.seconds + self.seconds,
        )


@contextmanager
def instance() -> Iterator[dg.DagsterInstance]:
    """Open the Dagster instance of the state folder, which is the one that the UI shows."""
    settings = get_settings()
    # dagster.yaml reads these variables; the settings know them from wherever they were set.
    os.environ.update(
        POSTGRES_HOST=settings.postgres_host,
        POSTGRES_PORT=str(settings.postgres_port),
        POSTGRES_USER=settings.postgres_user,
        POSTGRES_PASSWORD=settings.postgres_password.get_secret_value(),
        POSTGRES_SSLMODE=settings.postgres_sslmode,
        # dagster-postgres reads libpq's own variable.
        PGSSLMODE=settings.postgres_sslmode,
    )
    os.environ.setdefault("DAGSTER_HOME", str(settings.home / "dagster"))
    with dg.DagsterInstance.get() as dagster:
        keep_connections(dagster)
        yield dagster


def run_job(
    job: str,
    month: Month,
    dagster: dg.DagsterInstance,
    *,
    tags: Mapping[str, str] | None = None,
    assets: Sequence[str] | None = None,
) -> JobResult:
    """Run one job for one month in this process.

    Args:
        job: `month_close`, `train_month` or `score_month`.
        month: the partition.
        dagster: the Dagster instance to record on.
        tags: those by which `churn_assets.due` counts attempts; None takes the month's version.
        assets: the assets of the job to make; None takes all of them.
    """
    from churn_assets.definitions import defs

    run_id, started = str(uuid.uuid4()), time.perf_counter()
    known_by = version_tags(job, month) if tags is None else tags
    succeeded = False
    try:
        events = _execute(
            defs.resolve_job_def(job),
            month,
            dagster,
            run_id,
            tags=known_by,
            assets=frozenset(dg.AssetKey(name) for name in assets or ()),
        )
        succeeded = any(event.event_type == dg.DagsterEventType.RUN_SUCCESS for event in events)
    finally:
        unclosed = _close_records(run_id, succeeded=succeeded)
    # Dagster turned the interruption into the failure of one run.
    if any(_is_interruption(event) for event in events):
        raise KeyboardInterrupt
    failures, checks = failures_and_checks(events)
    if unclosed:
        failures = (*failures, unclosed)
    seconds = time.perf_counter() - started
    warnings = warnings_in(events)
    return JobResult(job, month, run_id, succeeded, failures, checks, seconds, warnings)


def _close_records(run_id: str, *, succeeded: bool) -> str:
    """Close a run's MLflow records; return why that failed, which must not stop the work on other months."""
    try:
        close_records(run_id, succeeded=succeeded)
    except ChurnError as error:
        return f"the run's records in MLflow stay open: {error}"
    return ""


def version_tags(job: str, month: Month) -> dict[str, str]:
    """Return the version tag of a run that was not requested by version, so that it counts as an attempt."""
    facts = read_facts()
    versions = {
        "month_close": facts.closings,
        "train_month": facts.trainings,
        "score_month": facts.scorings,
    }
    version = versions.get(job, {}).get(month)
    return {VERSION_TAG: version} if version else {}


def _execute(
    job: dg.JobDefinition,
    month: Month,
    dagster: dg.DagsterInstance,
    run_id: str,
    *,
    tags: Mapping[str, str],
    assets: frozenset[dg.AssetKey],
) -> list[dg.DagsterEvent]:
    """Execute one run here, recorded as if the stack had launched it, so that the UI can re-execute it."""
    chosen = job.get_subset(asset_selection=assets) if assets else job
    in_memory = InMemoryJob(chosen)
    plan = create_execution_plan(
        in_memory,
        run_config=_QUIET,
        instance_ref=dagster.get_ref() if dagster.is_persistent else None,
    )

    def is_over() -> bool:
        now = dagster.get_run_by_id(run_id)
        return now is None or now.is_finished

    origin = _origin(job.name)
    merged = merge_run_tags(job, month.partition_key, {**_TAGS, **tags}, None, dagster, _QUIET)
    # The UI finds the runs of a job by this label.
    label = {REPOSITORY_LABEL_TAG: origin.repository_origin.get_label()}
    with alive(run_id, is_over):
        run = dagster.create_run_for_job(
            chosen,
            execution_plan=plan,
            run_id=run_id,
            run_config=_QUIET,
            tags={**merged, **label, **process_tag(run_id)},
            asset_selection=assets or None,
            remote_job_origin=origin,
        )
        context = PlanOrchestrationContextManager(
            context_event_generator=orchestration_context_event_generator,
            job=in_memory,
            execution_plan=plan,
            dagster_run=run,
            instance=dagster,
            run_config=_QUIET,
            raise_on_error=False,
        )
        return list(ExecuteRunWithPlanIterable(plan, job_execution_iterator, context))


def _origin(job: str) -> RemoteJobOrigin:
    """Return the origin by which the stack's webserver and daemon find a job; workspace.yaml has the same."""
    server = GrpcServerCodeLocationOrigin(
        host=os.environ.get("DAGSTER_CODE_HOST", "127.0.0.1"),
        port=int(os.environ.get("DAGSTER_CODE_PORT", "4000")),
        location_name="churn",
    )
    return RemoteRepositoryOrigin(server, SINGLETON_REPOSITORY_NAME).get_job_origin(job)


def _is_interruption(event: dg.DagsterEvent) -> bool:
    return (
        event.event_type == dg.DagsterEventType.RUN_FAILURE
        and event.job_failure_data.failure_reason == RunFailureReason.UNEXPECTED_TERMINATION
    )
