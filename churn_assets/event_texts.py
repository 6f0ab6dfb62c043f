"""What Dagster's events of a run say to a person: each failure, each check and each warning in a sentence.

How a job is run is `run.py`; what a failure leads to is decided in `churn.schedule.due`.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import dagster as dg

from churn.errors import ChurnError

CheckState = Literal["passed", "warned", "failed"]

# Dagster's error for a failed check; the check's own outcome says more.
_BLOCKED = "DagsterAssetCheckFailedError"
_WARNING_LENGTH = 160


def failures_and_checks(
    events: Iterable[dg.DagsterEvent],
) -> tuple[tuple[str, ...], dict[str, CheckState]]:
    """Return a sentence about each failure, and the result of each check."""
    checks: dict[str, CheckState] = {}
    failures: list[str] = []
    for event in events:
        if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data
            name = f"{check.asset_key.to_user_string()}.{check.check_name}"
            is_error = check.severity == dg.AssetCheckSeverity.ERROR
            checks[name] = "passed" if check.passed else "failed" if is_error else "warned"
            if checks[name] == "failed":
                failures.append(f"{name}: {_check_text(check)}")
        elif event.is_step_failure:
            failures += _step_failures(event, failures)
        elif event.event_type == dg.DagsterEventType.RUN_FAILURE and not failures:
            # It failed outside of a step, for example in a resource that could not be created.
            failures.append(_run_failure(event))
    return tuple(failures), checks


def warnings_in(events: Iterable[dg.DagsterEvent]) -> tuple[str, ...]:
    """Return a line about each check that warned."""
    warned = []
    for event in events:
        if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data
            if not check.passed and check.severity == dg.AssetCheckSeverity.WARN:
                text = " ".join(_check_text(check).split())
                short = text if len(text) <= _WARNING_LENGTH else f"{text[:_WARNING_LENGTH]}..."
                warned.append(f"{check.asset_key.to_user_string()}.{check.check_name}: {short}")
    return tuple(warned)


def _check_text(check: Any) -> str:
    """Return the description of a check's result or, without one, its figures."""
    figures = ", ".join(f"{name} {each.value}" for name, each in check.metadata.items())
    return str(check.description or figures or "failed")


def _step_failures(event: dg.DagsterEvent, before: Sequence[str]) -> list[str]:
    """Return the failure of a step, unless one of its checks has been reported for it already."""
    failure = event.step_failure_data
    if failure.user_failure_data and failure.user_failure_data.description:
        text = str(failure.user_failure_data.description)
    else:
        text = _error_text(failure.error)
    of_checks = [
        failure_text for failure_text in before if failure_text.startswith(f"{event.step_key}.")
    ]
    if of_checks and (
        _BLOCKED in text or any(failure_text.endswith(text) for failure_text in of_checks)
    ):
        return []
    return [f"{event.step_key}: {text}"]


def _error_text(error: Any) -> str:
    """Return the text of our own error if there is one, otherwise that of the innermost error."""
    while error and error.cause and error.cls_name != ChurnError.__name__:
        error = error.cause
    if not error:
        return "failed"
    return str(error.message).strip().removeprefix(f"{ChurnError.__module__}.ChurnError: ")


def _run_failure(event: dg.DagsterEvent) -> str:
    """Return why a run failed outside of its steps; a run that was found dead has a message, but no error."""
    failure: Any = event.event_specific_data
    return _error_text(failure.error) if failure and failure.error else str(event.message)


def what_failed(events: Iterable[dg.DagsterEvent]) -> str:
    """Return why a run failed as one line, including what ended it outside of its steps."""
    failures, _ = failures_and_checks(events)
    return "; ".join(failures) or "it was ended before it was through"
