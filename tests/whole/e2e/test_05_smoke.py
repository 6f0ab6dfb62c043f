"""The smoke check while the API is down, asked for as the UI does."""

import os
import signal
from typing import Any

import httpx

from churn.stack.processes import living
from tests.kit.running_system import System
from tests.kit.waiting import eventually
from tests.whole.e2e.conftest import Filled

_CHECK = {"assetKey": {"path": ["online_features"]}, "name": "features_api_answers"}
_LAUNCH = """mutation ($selector: JobOrPipelineSelector!) {
  launchPipelineExecution(executionParams: {selector: $selector, mode: "default"}) {
    __typename
    ... on LaunchRunSuccess {run {id}}
    ... on PythonError {message}
  }
}"""
_RUN = """query ($id: ID!) {runOrError(runId: $id) {... on Run {status}}}"""
_ENDED = {"SUCCESS", "FAILURE", "CANCELED"}
_RESULT = """query ($asset: AssetKeyInput!, $name: String!) {
  assetCheckExecutions(assetKey: $asset, checkName: $name, limit: 1) {
    runId status
    evaluation {success severity description metadataEntries {label ... on MarkdownMetadataEntry {mdStr}}}
  }
}"""


def _execute(system: System) -> dict[str, Any]:
    launched = system.dagster(
        _LAUNCH,
        selector={
            "repositoryLocationName": "churn",
            "repositoryName": "__repository__",
            "jobName": "__ASSET_JOB",
            "assetSelection": [],
            "assetCheckSelection": [_CHECK],
        },
    )["launchPipelineExecution"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    run_id = launched["run"]["id"]
    # Asked while the run ends, Dagster may call its check skipped.
    eventually(
        lambda: system.dagster(_RUN, id=run_id)["runOrError"]["status"],
        lambda status: status in _ENDED,
    )
    asked = {"asset": _CHECK["assetKey"], "name": _CHECK["name"]}
    [execution] = system.dagster(_RESULT, **asked)["assetCheckExecutions"]
    assert execution["runId"] == run_id
    return dict(execution)


def _answers(system: System) -> bool:
    try:
        return system.api("GET", "/health/ready").status_code == 200
    except httpx.HTTPError:
        return False


def test_it_fails_with_a_remedy_while_the_api_is_down(system: System, filled: Filled) -> None:
    (api,) = living(system.home)["api"]
    os.killpg(api.pid, signal.SIGTERM)
    eventually(lambda: _answers(system), lambda answers: not answers)
    try:
        execution = _execute(system)
    finally:
        again = system.churn("up")
    assert execution["status"] == "FAILED", execution
    assert execution["evaluation"]["severity"] == "ERROR"
    assert "does not answer" in execution["evaluation"]["description"]
    assert "start it with `churn up`" in execution["evaluation"]["description"]
    assert again.returncode == 0, again.stderr
    assert "api ready" in again.stderr


def test_it_passes_once_the_api_is_back(system: System, filled: Filled) -> None:
    eventually(lambda: _answers(system), lambda answers: answers)
    execution = _execute(system)
    assert execution["status"] == "SUCCEEDED", execution
    assert "20 users" in execution["evaluation"]["description"]
