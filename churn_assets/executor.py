"""How a run is executed: all steps in one process, which is known to be alive and can be stopped.

This is Dagster's in-process executor with two additions. The run holds its lock (see `liveness.py`). And
while a step waits for a place in a pool, it logs who has it, ends dead runs, and reacts to SIGTERM: Dagster's
own wait ignores signals, and polls without a pause.
"""

import datetime as dt
import logging
import time
from collections.abc import Iterator
from typing import Any

import dagster as dg
from dagster._core.definitions.executor_definition import IN_PROC_CONFIG
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.execution.api import ExecuteRunWithPlanIterable
from dagster._core.execution.context.system import PlanExecutionContext, PlanOrchestrationContext
from dagster._core.execution.context_creation_job import PlanExecutionContextManager
from dagster._core.execution.plan.execute_plan import inner_plan_execution_iterator
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.in_process import InProcessExecutor
from dagster._utils.interrupts import check_captured_interrupt

from churn_assets.liveness import PROCESS_TAG, alive, describe, end_dead_runs, process_tag

# A shorter wait is not worth a message.
SAY_AFTER_SECONDS = 3.0
_LOOK_SECONDS = 15.0
_PAUSE_SECONDS = 0.1
_logger = logging.getLogger(__name__)


class OneProcess(InProcessExecutor):
    """Dagster's InProcessExecutor for runs that must be known to be alive."""

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[dg.DagsterEvent]:
        """Execute every step here, holding the run's lock."""
        run, instance = plan_context.dagster_run, plan_context.instance

        def is_over() -> bool:
            now = instance.get_run_by_id(run.run_id)
            return now is None or now.is_finished

        with alive(run.run_id, is_over):
            if not run.tags.get(PROCESS_TAG, "").endswith(run.run_id):
                instance.add_run_tags(run.run_id, process_tag(run.run_id))
            # It may have been taken for dead before it began.
            if is_over():
                raise DagsterExecutionInterruptedError("the run was ended before it began")
            yield from ExecuteRunWithPlanIterable(
                execution_plan=plan_context.execution_plan,
                iterator=_steps,
                execution_context_manager=PlanExecutionContextManager(
                    job=plan_context.job,
                    retry_mode=plan_context.retry_mode,
                    execution_plan=plan_context.execution_plan,
                    run_config=plan_context.run_config,
                    dagster_run=plan_context.dagster_run,
                    instance=plan_context.instance,
                    raise_on_error=plan_context.raise_on_error,
                    output_capture=plan_context.output_capture,
                    step_dependency_config=self.step_dependency_config,
                ),
            )


@dg.executor(name="in_process", config_schema=IN_PROC_CONFIG)
def one_process(context: dg.InitExecutorContext) -> OneProcess:
    """Execute all steps in one process."""
    retries: Any = context.executor_config["retries"]
    return OneProcess(retries=RetryMode.from_config(retries) or RetryMode.ENABLED)


class _Places(InstanceConcurrencyContext):
    """A run's places in pools; while it waits for one, it logs who has it and reacts to signals."""

    _waits_since = 0.0
    _next_look = 0.0

    def claim(self, concurrency_key: str, step_key: str, step_priority: int = 0) -> bool:
        if super().claim(concurrency_key, step_key, step_priority):
            self._waits_since = 0.0
            return True
        if check_captured_interrupt():
            raise DagsterExecutionInterruptedError(
                f"stopped waiting for the pool {concurrency_key}"
            )
        now = time.monotonic()
        if not self._waits_since:
            self._waits_since = now
            self._next_look = now + SAY_AFTER_SECONDS
        elif now >= self._next_look:
            self._next_look = now + _LOOK_SECONDS
            for line in holders(self._instance, concurrency_key):
                _logger.warning("%s waits for %s", step_key, line)
            # A place may be free now, so ask again at once.
            if end_dead_runs(self._instance):
                self._pending_timeouts[step_key] = 0.0
        time.sleep(_PAUSE_SECONDS)
        return False


def holders(instance: dg.DagsterInstance, pool: str) -> Iterator[str]:
    """Yield a sentence about each holder of a place in a pool: who it is, and since when."""
    for slot in instance.event_log_storage.get_concurrency_info(pool).claimed_slots:
        record = instance.get_run_record_by_id(slot.run_id)
        if record is None:
            continue
        run = record.dagster_run
        who = run.tags.get(PROCESS_TAG, "").removesuffix(f", run {run.run_id}")
        at = dt.datetime.fromtimestamp(record.start_time or 0, dt.UTC)
        yield (
            f"the pool {pool}: {describe(run)} has its place, at work since {at:%H:%M:%S} UTC"
            f"{f' as {who}' if who else ''}"
        )


def _steps(
    job_context: PlanExecutionContext, execution_plan: ExecutionPlan
) -> Iterator[dg.DagsterEvent]:
    with _Places(job_context.instance, job_context.dagster_run) as places:
        yield from inner_plan_execution_iterator(job_context, execution_plan, places)
