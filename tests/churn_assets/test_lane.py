import functools
import os
import signal
import subprocess
import sys
from concurrent.futures import Future

import dagster as dg
import psutil
import pytest

from churn.errors import ChurnError
from churn.months import Month
from churn.settings import Settings
from churn_assets import lane as lanes
from churn_assets.lane import Lane
from churn_assets.run import JobResult

pytestmark = pytest.mark.services  # a lane is a process of Dagster's
MONTH = Month.parse("2024-01")
PATIENCE = 600  # seconds; a process that should be gone is, long before
ENDLESS = """
import signal
from churn_assets.lane import Lane

if __name__ == "__main__":
    with Lane() as lane:
        print(lane.pid, flush=True)
        signal.pause()
"""


def test_a_lane_ends_with_the_process_that_asked(tmp_path) -> None:
    script = tmp_path / "endless.py"
    script.write_text(ENDLESS)
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True
    ) as asking:
        assert asking.stdout is not None
        lane = psutil.Process(int(asking.stdout.readline()))
        asking.send_signal(signal.SIGKILL)
    lane.wait(PATIENCE)


def test_what_is_at_work_in_a_lane_is_interrupted_with_the_one_that_asked(
    settings: Settings,
) -> None:
    given: list[Future[JobResult]] = []
    pids: list[int] = []

    def interrupted() -> None:
        with Lane() as lane:
            pids.append(lane.pid)
            given.extend(lane.submit("month_close", MONTH, list) for _ in range(9))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not psutil.pid_exists(pids[0])
    assert given[-1].cancelled()
    for job in given:  # none was left, and none ran to its end
        assert job.cancelled() or isinstance(job.exception(timeout=0), KeyboardInterrupt)


def test_an_error_of_a_job_comes_back(settings: Settings) -> None:
    then: list[str] = []
    with Lane() as lane, pytest.raises(dg.DagsterInvariantViolationError, match="DAGSTER_HOME"):
        lane.submit("month_close", MONTH, lambda: then.append("called")).result()
    assert then == ["called"]


def run_unless_first(job: str, month: Month, is_after_a_death: bool) -> str:
    """What a lane is given to do in place of a job: its first process does not live to see the end."""
    if not is_after_a_death:
        os.kill(os.getpid(), signal.SIGKILL)
    return f"{job} {month} done again"


@pytest.fixture
def deadly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "_run", run_unless_first)
    monkeypatch.setattr(lanes, "_come_to_life", os.getpid)  # without the graph, which takes seconds


def test_what_a_killed_lane_had_is_done_by_another_in_the_same_order(
    deadly: None, caplog: pytest.LogCaptureFixture
) -> None:
    then: list[str] = []
    with Lane() as lane:
        first = lane.pid
        jobs = [
            lane.submit(job, MONTH, functools.partial(then.append, job))
            for job in ("month_close", "score_month")
        ]
        results = [job.result(PATIENCE) for job in jobs]
        assert lane.pid != first
    assert results == ["month_close 2024-01 done again", "score_month 2024-01 done again"]
    assert then == ["month_close", "score_month"]
    assert "was killed (is memory short?) in month_close 2024-01" in caplog.text


def test_a_lane_that_is_killed_too_often_is_a_sentence(
    deadly: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "DEATHS_BORNE", 0)
    with (
        pytest.raises(ChurnError, match=r"month_close 2024-01: .* killed") as ended,
        Lane() as lane,
    ):
        lane.submit("month_close", MONTH, list).result(PATIENCE)
    assert "run the command again: what is done stays" in str(ended.value)
