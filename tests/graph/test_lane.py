import signal
import subprocess
import sys
from concurrent.futures import Future

import dagster as dg
import psutil
import pytest

from churn.months import Month
from churn.settings import Settings
from churn_assets.lane import Lane
from churn_assets.run import JobResult

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
