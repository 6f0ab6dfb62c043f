"""A code server that dies with its run, and failed runs executed again as the Dagster UI does it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from churn.settings import Settings
from churn.stack.processes import living
from tests.kit.running_system import System
from tests.kit.waiting import eventually
from tests.whole.e2e.conftest import Filled

_LAUNCH = """mutation ($params: ExecutionParams!) {
  launchPipelineExecution(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess {run {id}}
    ... on PythonError {message}
  }
}"""
_AGAIN = """mutation ($params: ReexecutionParams!) {
  launchRunReexecution(reexecutionParams: $params) {
    __typename
    ... on LaunchRunSuccess {run {id}}
    ... on PythonError {message stack}
  }
}"""
_RUN = """query ($id: ID!) {runOrError(runId: $id) {... on Run {status tags {key value}}}}"""
_RUNS = """{runsOrError(filter: {pipelineName: "train_month", statuses: [FAILURE]}) {
  ... on Runs {results {id tags {key value}}}
}}"""
_ENDED = {"SUCCESS", "FAILURE", "CANCELED"}


def _run(system: System, run_id: str) -> dict[str, Any]:
    return dict(system.dagster(_RUN, id=run_id)["runOrError"])


def _tags(run: dict[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in run["tags"]}


def _again(system: System, run_id: str) -> dict[str, Any]:
    """Press *Re-execute from failure*; return the new run when it has ended."""
    params = {"parentRunId": run_id, "strategy": "FROM_FAILURE"}
    answer = system.dagster(_AGAIN, params=params)["launchRunReexecution"]
    assert answer["__typename"] == "LaunchRunSuccess", answer
    new = answer["run"]["id"]
    return eventually(lambda: _run(system, new), lambda seen: seen["status"] in _ENDED)


@contextmanager
def _held(system: System, name: str) -> Iterator[None]:
    """Hold a lock, so that the step which needs it waits."""
    dsn = Settings(_env_file=system.home / "stack.env").dsn()
    with psycopg.connect(dsn) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [name])
        yield


def test_a_run_that_dies_with_its_code_server_is_failed_and_can_be_executed_again(
    system: System, filled: Filled
) -> None:
    selector = {
        "repositoryLocationName": "churn",
        "repositoryName": "__repository__",
        "jobName": "month_close",
    }
    tags = [{"key": "dagster/partition", "value": "2024-01-01"}]
    with _held(system, "raw.users.2024-01"):
        answer = system.dagster(
            _LAUNCH,
            params={"selector": selector, "mode": "default", "executionMetadata": {"tags": tags}},
        )["launchPipelineExecution"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        run_id = answer["run"]["id"]
        eventually(lambda: _tags(_run(system, run_id)), lambda seen: "churn/process" in seen)
        for process in living(system.home)["code"]:  # the server and the worker of the run
            process.kill()
        assert _run(system, run_id)["status"] == "STARTED"
    up = system.churn("up")
    assert up.returncode == 0, up.stderr
    ended = eventually(lambda: _run(system, run_id)["status"], lambda seen: seen != "STARTED")
    assert ended == "FAILURE"
    assert _again(system, run_id)["status"] == "SUCCESS"


def test_a_run_of_the_command_line_can_be_executed_again(system: System, filled: Filled) -> None:
    failed = system.churn("train", "--month", "2024-03")  # its labels are not there yet
    assert failed.returncode == 1
    runs = system.dagster(_RUNS)["runsOrError"]["results"]
    [parent] = [run for run in runs if _tags(run)["dagster/partition"] == "2024-03-01"]
    assert _tags(parent)["churn/launched_by"] == "command line"
    again = _again(system, parent["id"])
    assert again["status"] == "FAILURE"  # they still are not
    assert _tags(again)["dagster/parent_run_id"] == parent["id"]
