"""`churn up`: whole, and clear about what is there already."""

import json

import httpx

from churn.stack.parts import PARTS
from tests.e2e.conftest import Up
from tests.e2e.system import System
from tests.stack.commands import environment


def test_up_starts(up: Up) -> None:
    assert up.first.returncode == 0, up.first.stderr  # how long it takes is the bench's to say


def test_every_part_is_healthy(system: System) -> None:
    answer = json.loads(system.churn("status", "--json").stdout)
    assert answer["healthy"] is True
    assert {p["name"]: p["health"] for p in answer["parts"]} == dict.fromkeys(PARTS, "healthy")


def test_mlflow_answers_to_this_machine_s_names_only(system: System) -> None:
    url = f"http://127.0.0.1:{system.told['MLFLOW_PORT']}/api/2.0/mlflow/experiments/search?max_results=1"
    assert httpx.get(url, headers={"Host": "localhost:5000"}, timeout=60).status_code == 200
    assert httpx.get(url, headers={"Host": "evil.example"}, timeout=60).status_code == 403


def test_a_second_up_says_what_runs(system: System) -> None:
    again = system.churn("up")
    assert again.returncode == 0
    assert "everything is running already" in again.stderr
    assert all(str(port) in again.stdout for port in system.ports)


def test_another_stack_is_told_who_has_its_port(system: System) -> None:
    other = System(environment(system.home.with_name("other"), API_PORT=system.told["API_PORT"]))
    refused = other.churn("up")
    assert refused.returncode == 1
    assert f"port {system.told['API_PORT']} of api (API_PORT) is taken" in refused.stderr
    assert f"part of the stack in {system.home}" in refused.stderr
    assert "API_PORT=" in refused.stderr.split("->")[1]
    assert not other.leftovers()
