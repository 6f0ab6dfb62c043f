"""Months through the graph in one process, on the same Dagster instance: no queue, no poll, same history."""

import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

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
from churn_assets.jobs import VERSION_TAG
from churn_assets.liveness import alive, process_tag
from churn_assets.resources import keep_connections

CheckState = Literal["passed", "warned", "failed"]

_BLOCKED = "DagsterAssetCheckFailedError"  # says that a check has failed, which has spoken itself
_WARNING_LENGTH = 160
# The bars and the summary speak; every event is in the UI.
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
_TAGS = {
    "churn/launched_by": "command line",
    "dagster/max_retries": "0",  # who waits for a command sees it fail, and is asked what to do
}


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
    warnings: tuple[str, ...] = ()  # checks that failed and block nothing, in words

    def after(self, before: "JobResult") -> "JobResult":
        """Return this attempt as the end of what an earlier one began: it made only what was left."""
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
    *,
    tags: Mapping[str, str] | None = None,
    assets: Sequence[str] | None = None,
) -> JobResult:
    """Run one job for one month in this process.

    Args:
        job: `month_close`, `train_month` or `score_month`.
        month: the partition.
        found: the Dagster instance to record on.
        tags: by which `churn_assets.due` counts attempts; the month's version, if none are given.
        assets: those of the job that are to be made; all of them, where none is named.
    """
    from churn_assets.definitions import defs

    run_id, started = str(uuid.uuid4()), time.perf_counter()
    known_by = version_tags(job, month) if tags is None else tags
    succeeded = False
    try:
        events = _execute(
            defs.resolve_job_def(job),
            month,
            found,
            run_id,
            tags=known_by,
            assets=frozenset(dg.AssetKey(name) for name in assets or ()),
        )
        succeeded = any(event.event_type == dg.DagsterEventType.RUN_SUCCESS for event in events)
    finally:
        unclosed = _close_records(run_id, succeeded=succeeded)
    if any(_is_interruption(event) for event in events):
        raise KeyboardInterrupt  # Dagster kept it to itself, as the failure of one run
    failures, checks = _said_by(events)
    if unclosed:
        failures = (*failures, unclosed)
    seconds = time.perf_counter() - started
    warnings = _warnings_in(events)
    return JobResult(job, month, run_id, succeeded, failures, checks, seconds, warnings)


def _close_records(run_id: str, *, succeeded: bool) -> str:
    """Close a run's MLflow records; return why that was not possible: it ends no other month's work."""
    try:
        close_records(run_id, succeeded=succeeded)
    except ChurnError as error:
        return f"the run's records in MLflow stay open: {error}"
    return ""


def version_tags(job: str, month: Month) -> dict[str, str]:
    """Return the tag of a run that nobody asked for by version, so that it counts as an attempt, too."""
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
    found: dg.DagsterInstance,
    run_id: str,
    *,
    tags: Mapping[str, str],
    assets: frozenset[dg.AssetKey],
) -> list[dg.DagsterEvent]:
    """Execute one run here, recorded as if the stack had launched it: the UI can execute it again."""
    chosen = job.get_subset(asset_selection=assets) if assets else job
    in_memory = InMemoryJob(chosen)
    plan = create_execution_plan(
        in_memory, run_config=_QUIET, instance_ref=found.get_ref() if found.is_persistent else None
    )

    def is_over() -> bool:
        now = found.get_run_by_id(run_id)
        return now is None or now.is_finished

    origin = _origin(job.name)
    merged = merge_run_tags(job, month.partition_key, {**_TAGS, **tags}, None, found, _QUIET)
    # By the label, the UI finds the runs of a job.
    label = {REPOSITORY_LABEL_TAG: origin.repository_origin.get_label()}
    with alive(run_id, is_over):
        run = found.create_run_for_job(
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
            instance=found,
            run_config=_QUIET,
            raise_on_error=False,
        )
        return list(ExecuteRunWithPlanIterable(plan, job_execution_iterator, context))


def _origin(job: str) -> RemoteJobOrigin:
    """Return where the stack's webserver and daemon find a job: workspace.yaml says the same."""
    server = GrpcServerCodeLocationOrigin(
        host=os.environ.get("DAGSTER_CODE_HOST", "127.0.0.1"),
        port=int(os.environ.get("DAGSTER_CODE_PORT", "4000")),
        location_name="churn",
    )
    return RemoteRepositoryOrigin(server, SINGLETON_REPOSITORY_NAME).get_job_origin(job)


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
                failures.append(f"{name}: {_said_of_check(found)}")
        elif event.is_step_failure:
            failures += _said_of_step(event, failures)
        elif event.event_type == dg.DagsterEventType.RUN_FAILURE and not failures:
            # Outside of a step, such as a resource that cannot be made.
            failures.append(_said_of_run(event))
    return tuple(failures), checks


def _warnings_in(events: Iterable[dg.DagsterEvent]) -> tuple[str, ...]:
    """Return each check that warned, with its figures, in a line."""
    warned = []
    for event in events:
        if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            found = event.asset_check_evaluation_data
            if not found.passed and found.severity == dg.AssetCheckSeverity.WARN:
                text = " ".join(_said_of_check(found).split())
                short = text if len(text) <= _WARNING_LENGTH else f"{text[:_WARNING_LENGTH]}..."
                warned.append(f"{found.asset_key.to_user_string()}.{found.check_name}: {short}")
    return tuple(warned)


def _said_of_check(found: Any) -> str:
    """Return what a check says of itself, else its figures."""
    figures = ", ".join(f"{name} {each.value}" for name, each in found.metadata.items())
    return str(found.description or figures or "failed")


def _said_of_step(event: dg.DagsterEvent, before: Sequence[str]) -> list[str]:
    """Return what a failed step said, unless one of its checks has said it."""
    failure = event.step_failure_data
    if failure.user_failure_data and failure.user_failure_data.description:
        text = str(failure.user_failure_data.description)
    else:
        text = _said_of_error(failure.error)
    of_checks = [said for said in before if said.startswith(f"{event.step_key}.")]
    if of_checks and (_BLOCKED in text or any(said.endswith(text) for said in of_checks)):
        return []
    return [f"{event.step_key}: {text}"]


def _said_of_error(error: Any) -> str:
    """Return our own words where there are any, else those of the innermost error."""
    while error and error.cause and error.cls_name != ChurnError.__name__:
        error = error.cause
    if not error:
        return "failed"
    return str(error.message).strip().removeprefix(f"{ChurnError.__module__}.ChurnError: ")


def _said_of_run(event: dg.DagsterEvent) -> str:
    """Return why a run failed outside of its steps; a run that was found dead has no error, only words."""
    failure: Any = event.event_specific_data
    return _said_of_error(failure.error) if failure and failure.error else str(event.message)


def what_failed(events: Iterable[dg.DagsterEvent]) -> str:
    """Return why a run failed, in words; what ended it outside of its steps is said, too."""
    failures, _ = _said_by(events)
    return "; ".join(failures) or "it was ended before it was through"


def _is_interruption(event: dg.DagsterEvent) -> bool:
    return (
        event.event_type == dg.DagsterEventType.RUN_FAILURE
        and event.job_failure_data.failure_reason == RunFailureReason.UNEXPECTED_TERMINATION
    )
