"""What a run that failed says on the command line: once, in our words, with figures and a remedy."""

import dagster as dg
import pytest

from churn.errors import ChurnError
from churn.settings import Settings, get_settings
from churn.stack.processes import free_port
from churn_assets.event_texts import failures_and_checks, warnings_in
from churn_assets.monthly import (
    Check,
    CheckFailed,
    MonthResult,
    MonthStep,
    Outcome,
    Work,
    monthly_asset,
)
from churn_assets.resources import mlflow_resource

SOUND = Check("sound", "It is.")
CLEAN = Check("clean", "It is.", blocking=False)


def events(work: Work) -> list[dg.DagsterEvent]:
    thing = monthly_asset("thing", work, group="raw", kinds={"python"}, checks=[SOUND, CLEAN])
    job = dg.Definitions(
        assets=[thing], resources={"mlflow": mlflow_resource()}, executor=dg.in_process_executor
    ).resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(
            instance=instance, raise_on_error=False, partition_key="2024-01-01"
        )
    assert not result.success
    return list(result.all_events)


def failing(outcome: Outcome) -> Work:
    def work(step: MonthStep) -> MonthResult:
        return MonthResult(1, "f", {}, [outcome, Outcome("clean", False, {"odd": 7})])

    return work


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (
            Outcome("sound", False, {"rows": 3}, "3 of 9 rows\n  -> mend them"),
            "3 of 9 rows\n  -> mend them",
        ),
        (Outcome("sound", False, {"rows": 3, "users": 9}), "rows 3, users 9"),
    ],
)
def test_a_blocking_check_speaks_for_itself(
    mlflow_settings: Settings, outcome: Outcome, expected: str
) -> None:
    evaluations = events(failing(outcome))
    failures, checks = failures_and_checks(evaluations)
    assert failures == (f"thing.sound: {expected}",)
    assert checks == {"thing.sound": "failed", "thing.clean": "warned"}
    assert warnings_in(evaluations) == ("thing.clean: odd 7",)


def test_a_check_that_fails_before_anything_is_written_is_told_once(
    mlflow_settings: Settings,
) -> None:
    def refused(step: MonthStep) -> MonthResult:
        raise CheckFailed(Outcome("sound", False, {}, "three bad rows"))

    assert failures_and_checks(events(refused))[0] == ("thing.sound: three bad rows",)


def test_an_error_of_ours_is_told_without_what_led_to_it(mlflow_settings: Settings) -> None:
    def fails(step: MonthStep) -> MonthResult:
        try:
            raise KeyError("a")
        except KeyError as error:
            raise ChurnError("no drop", where="2024-01", remedy="deliver it") from error

    assert failures_and_checks(events(fails))[0] == ("thing: 2024-01: no drop\n  -> deliver it",)


def test_what_fails_outside_of_a_step_is_told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
    get_settings.cache_clear()
    [failure], _ = failures_and_checks(events(failing(Outcome("sound", True))))
    assert failure.startswith(f"{url}: MLflow does not answer: ")
    assert "  -> start the stack with `churn up`" in failure
