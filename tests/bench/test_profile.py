"""The profile: whose seconds a stack's are, and that a busy thread is seen."""

import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.profile import AROUND, Sampler, markdown, records, sampling, where
from tests.kit.waiting import until

ROOT = Path(__file__).parents[2]
SITE = "/somewhere/.venv/lib/python3.11/site-packages"
ASSETS = ROOT / "churn_assets"
SHELL = ASSETS / "monthly.py"


def _through(files: list[Any], last: Callable[[], Any]) -> Any:
    """Call `last` through functions that stand in the files, the outermost first."""
    for file in reversed(files):
        names: dict[str, Any] = {"inner": last}
        exec(compile("def call():\n    return inner()", str(file), "exec"), names)  # noqa: S102
        last = names["call"]
    return last()


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            [SHELL, ASSETS / "model.py", ROOT / "churn/model/train.py", f"{SITE}/sklearn/a.py"],
            ("model", "sklearn"),
        ),
        ([SHELL, ASSETS / "champion.py", "/usr/lib/python3.11/json/encoder.py"], ("champion", "ours")),
        ([f"{SITE}/dagster/a.py", SHELL, ROOT / "churn/a.py", f"{SITE}/mlflow/b.py"], (AROUND, "mlflow")),
        ([f"{SITE}/dagster/a.py", f"{SITE}/_psycopg.py"], (AROUND, "psycopg")),
    ],
)  # fmt: skip
def test_a_stack_is_of_a_stage_and_a_library(files: list[Any], expected: tuple[str, str]) -> None:
    seen: list[tuple[str, str]] = []

    def look() -> None:
        frame = sys._getframe(1)  # the caller's: this file is no library's
        seen.append(where(frame))

    _through(files, look)
    assert seen == [expected]


def test_a_busy_thread_is_seen() -> None:
    with sampling() as sampler:
        sampler.job = "train_month"
        until(lambda: sum(sampler.seconds.values()) > 0)
        sampler.job = ""
    assert {job for job, _, _ in sampler.seconds} == {"train_month"}


def test_the_time_of_a_job_is_what_lies_between_the_looks_at_it() -> None:
    sampler = Sampler(threading.get_ident())
    looks = (
        ("", 10.0),
        ("train_month", 11.0),
        ("train_month", 11.5),
        ("", 13.0),
        ("month_close", 15.0),
    )
    for sampler.job, now in looks:
        sampler.look(now)
    jobs: Counter[str] = Counter()
    for (job, _, _), seconds in sampler.seconds.items():
        jobs[job] += seconds
    assert jobs == {"train_month": 1.5, "month_close": 2.0}


def test_stages_are_told_in_the_order_of_the_jobs_and_of_their_seconds() -> None:
    seconds = {
        ("train_month", "model", "sklearn"): 6.0,
        ("train_month", "model", "ours"): 2.0,
        ("train_month", "champion", "ours"): 1.96,
        ("month_close", "raw", "psycopg"): 10.0,
        ("month_close", "training", "ours"): 0.04,
    }
    stage_records = records(seconds, months=2)
    assert [(row["job"], row["stage"], row["seconds"]) for row in stage_records] == [
        ("month_close", "raw", 5.0),
        ("month_close", "training", 0.02),
        ("train_month", "model", 4.0),
        ("train_month", "champion", 0.98),
    ]
    assert stage_records[2]["libraries"] == {"sklearn": 3.0, "ours": 1.0}
    text = markdown(
        {"machine": {"load_before": 0.1}, "users": 7_043, "months": 2, "stages": stage_records}
    )
    assert "| train_month | model | 40.0% | sklearn 75%, ours 25% |" in text
    assert "training" not in text  # less than a hundredth
