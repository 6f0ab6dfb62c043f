"""Two months backfilled as the Dagster UI does it, and their records in MLflow."""

from collections import Counter
from typing import Any

import pytest

from churn_assets.jobs import CLOSE_KEYS
from tests.kit.running_system import System
from tests.kit.waiting import eventually
from tests.whole.e2e.conftest import Filled

MONTHS = ["2024-01-01", "2024-02-01"]

_LAUNCH = """mutation ($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess {backfillId}
    ... on PythonError {message}
  }
}"""
_STATE = """query ($id: String!) {partitionBackfillOrError(backfillId: $id) {
  __typename
  ... on PartitionBackfill {
    status error {message}
    runs(limit: 10) {id status creationTime startTime endTime tags {key value}}
  }
}}"""


@pytest.fixture(scope="module")
def runs(system: System, filled: Filled) -> dict[str, dict[str, Any]]:
    """The runs of one backfill, by month."""
    launched = system.dagster(
        _LAUNCH,
        params={
            "assetSelection": [{"path": [key]} for key in CLOSE_KEYS],
            "partitionNames": MONTHS,
            "title": "two months again",
        },
    )["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    ended = eventually(
        lambda: system.dagster(_STATE, id=launched["backfillId"])["partitionBackfillOrError"],
        lambda seen: seen["status"] != "REQUESTED",
    )
    assert ended["status"] == "COMPLETED_SUCCESS", ended
    tagged = [({t["key"]: t["value"] for t in run["tags"]}, run) for run in ended["runs"]]
    return {tags["dagster/partition"]: run for tags, run in tagged}


def test_each_month_is_one_run(runs: dict[str, dict[str, Any]]) -> None:
    assert sorted(runs) == MONTHS
    assert {run["status"] for run in runs.values()} == {"SUCCESS"}


@pytest.mark.parametrize("month", MONTHS)
def test_mlflow_has_one_record_per_asset_and_month(
    system: System, runs: dict[str, dict[str, Any]], month: str
) -> None:
    dagster_run = runs[month]["id"]
    named = system.mlflow("experiments/get-by-name?experiment_name=streamflow")
    experiment = named["experiment"]["experiment_id"]

    def search(tag: str, value: str) -> list[dict[str, Any]]:
        answer = system.mlflow(
            "runs/search",
            experiment_ids=[experiment],
            filter=f"tags.`{tag}` = '{value}'",
            max_results=500,
        )
        return list(answer.get("runs", []))

    # The run-status sensor ends the parent, some seconds after the run.
    [parent] = eventually(
        lambda: search("dagster_run_id", dagster_run),
        lambda seen: all(run["info"]["status"] != "RUNNING" for run in seen),
    )
    assert parent["info"]["status"] == "FINISHED"
    records = search("mlflow.parentRunId", parent["info"]["run_id"])
    tags = [{tag["key"]: tag["value"] for tag in each["data"]["tags"]} for each in records]
    assert Counter(each["asset"] for each in tags) == Counter(CLOSE_KEYS)
    assert {each["partition"] for each in tags} == {month}
    assert {each["info"]["status"] for each in records} == {"FINISHED"}
    for each in records:
        assert {metric["key"] for metric in each["data"]["metrics"]} >= {"rows", "duration_sec"}
        assert "fingerprint" in {param["key"] for param in each["data"]["params"]}


def test_an_older_month_takes_nothing_back(
    system: System, runs: dict[str, dict[str, Any]], filled: Filled
) -> None:
    answer = system.api("GET", "/features/7590-VHVEG").json()
    assert (answer["as_of"], answer["features"]["months_active"]) == ("2024-03-31", 3)
