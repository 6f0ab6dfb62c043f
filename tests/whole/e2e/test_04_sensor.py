"""A drop is copied into the watched folder: nobody does anything else."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from churn.stack.processes import living
from tests.kit.running_system import System
from tests.kit.waiting import eventually
from tests.whole.e2e.conftest import Filled

_RUNS = """{runsOrError(filter: {tags: [{key: "dagster/sensor_name", value: "drops_folder"}]}) {
  ... on Runs {results {jobName status tags {key value}}}
}}"""
_SENSORS = """{sensorsOrError(repositorySelector: {
  repositoryLocationName: "churn", repositoryName: "__repository__"
}) {... on Sensors {results {name minIntervalSeconds}}}}"""
_ENDED = {"SUCCESS", "FAILURE", "CANCELED"}


def _pid_of_the_api(system: System) -> int:
    (api,) = living(system.home)["api"]
    return api.pid


def _runs(system: System) -> dict[tuple[str, str], str]:
    results = system.dagster(_RUNS)["runsOrError"]["results"]
    return {
        (run["jobName"], tag["value"]): run["status"]
        for run in results
        for tag in run["tags"]
        if tag["key"] == "dagster/partition"
    }


def test_the_sensors_look_as_often_as_the_settings_say(system: System) -> None:
    sensors = system.dagster(_SENSORS)["sensorsOrError"]["results"]
    seconds = {sensor["name"]: sensor["minIntervalSeconds"] for sensor in sensors}
    assert system.told["CHURN_LOOK_SECONDS"] == "10"
    assert (seconds["drops_folder"], seconds["alarms"]) == (10, 10)


@pytest.fixture(scope="module")
def before(system: System, filled: Filled, drops: Path) -> dict[str, Any]:
    """The prediction before the next month and the labels of the last one arrive."""
    answer = system.api("POST", "/predict", json={"user_id": "7590-VHVEG"}).json()
    facts = {**answer, "pid": _pid_of_the_api(system)}
    for name in ("month_002", "month_003"):  # the first one again, now with its labels
        shutil.copytree(drops / "later" / name, system.home / "drops" / name)
        for path in (system.home / "drops" / name).iterdir():
            os.utime(path, (0, 0))  # long whole: the sensor need not look twice
        os.utime(path.parent, (0, 0))
    return facts


def test_the_sensor_launches_what_the_drop_makes_possible(
    system: System, before: dict[str, Any]
) -> None:
    launched = eventually(
        lambda: _runs(system),
        lambda seen: len(seen) > 2 and set(seen.values()) <= _ENDED,
    )
    assert launched == {
        ("month_close", "2024-04-01"): "SUCCESS",
        ("train_month", "2024-03-01"): "SUCCESS",
        ("score_month", "2024-04-01"): "SUCCESS",
    }


def test_the_new_month_is_served(system: System, before: dict[str, Any]) -> None:
    answer = eventually(
        lambda: system.api("GET", "/features/7590-VHVEG").json(),
        lambda seen: seen["as_of"] == "2024-04-30",
    )
    assert answer["current"] is True
    assert answer["features"]["months_active"] == 4
    assert answer["features"]["monthly_fee"] == 29.85


def test_the_month_was_decided_on(system: System, before: dict[str, Any]) -> None:
    ledger = json.loads(system.churn("ledger", "--json").stdout)
    assert [entry["month"] for entry in ledger["entries"]][-1] == "2024-03"


def test_what_is_promoted_by_hand_is_served_without_a_restart(
    system: System, before: dict[str, Any], filled: Filled
) -> None:
    def predicted() -> str:
        answer = system.api("POST", "/predict", json={"user_id": "7590-VHVEG"})
        return str(answer.json()["model_version"])

    served = predicted()
    other = next(v for m in filled.models if (v := m["model_version"]) != served)
    refused = system.churn("promote", other, "--reason", " ")
    assert (refused.returncode, "a reason is needed" in refused.stderr) == (1, True)
    promoted = system.churn("promote", other, "--reason", "the baseline is wanted")
    assert promoted.returncode == 0, promoted.stderr
    eventually(predicted, lambda version: version == other)
    restored = system.churn("rollback", "--reason", "it was only tried")
    assert restored.returncode == 0, restored.stderr
    eventually(predicted, lambda version: version == served)
    assert _pid_of_the_api(system) == before["pid"]
    assert system.churn("ledger").returncode == 0
