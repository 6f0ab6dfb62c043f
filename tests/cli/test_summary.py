"""What a command that puts months through the graph says of those that failed."""

import pytest
from rich.console import Console

from churn.cli.summary import months_table, show_failed, why_no_model
from churn.months import Month
from churn_assets.batch import RunOutcome, ended_at_last
from churn_assets.run import CheckState, JobResult

JANUARY, FEBRUARY, MARCH = (Month.parse(f"2024-0{n}") for n in (1, 2, 3))
DROPPED = "churn_model: Server disconnected without sending a response"


def ended(
    job: str,
    month: Month = JANUARY,
    *failures: str,
    checks: dict[str, CheckState] | None = None,
    succeeded: bool | None = None,
) -> JobResult:
    is_well = not failures if succeeded is None else succeeded
    return JobResult(job, month, "run", is_well, failures, checks or {}, 1.0)


def test_a_training_that_failed_is_told_from_one_that_waits_for_labels() -> None:
    outcome = RunOutcome(
        months=[JANUARY, FEBRUARY, MARCH],
        jobs=[ended("train_month", JANUARY, DROPPED), ended("month_close", FEBRUARY, "no disk")],
        waiting=[MARCH],
    )
    assert why_no_model(outcome, JANUARY) == f"training failed: {DROPPED}"
    assert why_no_model(outcome, FEBRUARY) == "closing failed: no disk"
    assert why_no_model(outcome, MARCH) == "waits for labels (2024-04-30)"
    assert not outcome.succeeded


def test_a_long_reason_hides_no_month_and_no_checks_on_a_narrow_screen() -> None:
    reason = "training_dataset.both_classes: 0 of 300 users left: a model needs some who left"
    failed = ended("train_month", JANUARY, reason, checks={"training_dataset.rows": "passed"})
    console = Console(width=90, record=True)
    console.print(months_table(RunOutcome(months=[JANUARY], jobs=[failed]), champion=None))
    text = console.export_text()
    assert "2024-01" in text
    assert "1 passed" in text
    assert "0 of 300" in text


def test_what_was_mended_at_the_second_attempt_is_no_failure() -> None:
    outcome = RunOutcome(months=[JANUARY], jobs=[ended("train_month", JANUARY, DROPPED)])
    outcome.jobs = ended_at_last(outcome.jobs, [ended("train_month")])
    assert outcome.succeeded
    assert [job.seconds for job in outcome.jobs] == [2.0]


def test_a_failed_check_that_was_not_looked_at_again_stays_failed() -> None:
    smoke = "online_features.features_api_answers"
    first = ended("month_close", JANUARY, f"{smoke}: down", "users: lost", checks={smoke: "failed"})
    [last] = ended_at_last([first], [ended("month_close", checks={"users.valid": "passed"})])
    assert last.succeeded
    assert last.failures == (f"{smoke}: down",)
    assert last.checks == {smoke: "failed", "users.valid": "passed"}
    [mended] = ended_at_last([last], [ended("month_close", checks={smoke: "passed"})])
    assert mended.failures == ()


def test_the_list_names_what_failed_and_what_waits_behind_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    behind = "decisions of 2024-01 to 2024-03 wait for train_month of 2024-01, which failed once"
    show_failed(Console(width=200), [ended("train_month", JANUARY, DROPPED)], [behind])
    output = capsys.readouterr().out
    assert f"2024-01 train_month {DROPPED}" in output
    assert behind in output
