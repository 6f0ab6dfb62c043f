"""Drops through the graph on the running stack, and what each service then answers."""

import itertools
import json
from typing import Any

from churn.contract.in_force import LABELS
from churn_assets.jobs import CLOSE_KEYS, SCORE_KEYS, TRAIN_KEYS
from tests.kit.running_system import System
from tests.whole.e2e.conftest import USERS, Filled

NAMES = ["month", "service", "rows", "auc", "f1", "accuracy", "model_version", "fingerprint"]
EXAMPLE = "7590-VHVEG"
_TRAINED, _CLOSED = ("2024-01-01", "2024-02-01"), ("2024-01-01", "2024-03-01")

_ASSETS = """{assetNodes {
  assetKey {path}
  assetPartitionStatuses {... on TimePartitionStatuses {ranges {startKey endKey status}}}
  assetChecksOrError {... on AssetChecks {checks {
    name blocking
    partitionStatuses {... on AssetCheckTimePartitionStatuses {ranges {startKey endKey status}}}
  }}}
}}"""


def _ranges(statuses: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(each["startKey"], each["endKey"], each["status"]) for each in statuses["ranges"]]


def test_the_json_has_exactly_the_names_of_the_contract(filled: Filled) -> None:
    assert [list(each) for each in filled.models] == [NAMES] * len(filled.models)
    assert [(each["month"], each["service"]) for each in filled.models] == list(
        itertools.product(("2024-01", "2024-02"), ("churn_baseline", "churn_rich"))
    )
    for each in filled.models:
        assert each["rows"] == USERS
        assert 0.5 < each["auc"] < 1
        assert 0 < each["f1"] < 1
        assert 0.5 < each["accuracy"] < 1
        assert len(each["fingerprint"]) == 64


def test_the_newest_month_waits_for_its_labels(filled: Filled) -> None:
    assert "waits for labels (2024-04-30)" in filled.output
    assert "champion" in filled.output


def test_dagster_shows_the_months_of_every_asset(system: System, filled: Filled) -> None:
    seen = {
        node["assetKey"]["path"][-1]: _ranges(node["assetPartitionStatuses"])
        for node in system.dagster(_ASSETS)["assetNodes"]
    }
    assert seen.pop("backtest") == []  # looks back when it is asked to
    assert set(seen) == {*CLOSE_KEYS, *TRAIN_KEYS, *SCORE_KEYS}
    assert LABELS.name in seen
    for name, ranges in seen.items():
        first, last = _CLOSED if name in {*CLOSE_KEYS, *SCORE_KEYS} else _TRAINED
        assert ranges == [(first, last, "MATERIALIZED")], name


def test_dagster_shows_every_blocking_check_green(system: System, filled: Filled) -> None:
    checked = 0
    for node in system.dagster(_ASSETS)["assetNodes"]:
        name = node["assetKey"]["path"][-1]
        first, last = _CLOSED if name in {*CLOSE_KEYS, *SCORE_KEYS} else _TRAINED
        for check in node["assetChecksOrError"]["checks"]:
            if check["blocking"]:
                ranges = _ranges(check["partitionStatuses"])
                assert ranges == [(first, last, "SUCCEEDED")], f"{name}.{check['name']}"
                checked += 1
    assert checked > 20


def test_features_of_the_worked_example(system: System, filled: Filled) -> None:
    answer = system.api("GET", f"/features/{EXAMPLE}")
    assert answer.status_code == 200
    body = answer.json()
    assert (body["user_id"], body["as_of"], body["current"]) == (EXAMPLE, "2024-03-31", True)
    assert body["features"]["user_id"] == EXAMPLE
    assert body["features"]["monthly_fee"] == 29.85
    assert '"monthly_fee":29.85,' in answer.text  # the shortest text of a float32
    assert body["features"]["months_active"] == 3  # 1 in 2024-01
    assert body["features"]["paperless_billing"] is True


def test_an_unknown_user_is_no_200(system: System, filled: Filled) -> None:
    for answer in (
        system.api("GET", "/features/nobody"),
        system.api("POST", "/predict", json={"user_id": "nobody"}),
    ):
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "unknown_user"


def test_a_prediction_comes_from_the_champion(system: System, filled: Filled) -> None:
    ledger = json.loads(system.churn("ledger", "--json").stdout)
    released = ledger["in_force"]["version"]
    asked = {"json": {"user_id": EXAMPLE}}
    body = system.api("POST", "/predict", **asked).json()
    assert body["model_version"] == released
    assert body["prediction"] == (body["probability"] >= body["threshold"])
    assert body["as_of"] == "2024-03-31"
    assert body["features_used"]["monthly_fee"] == 29.85
    both = system.api("POST", "/predict/batch", json={"user_ids": [EXAMPLE, "nobody"]})
    assert both.status_code == 200
    assert [each["status"] for each in both.json()["results"]] == [200, 404]
    champion = system.mlflow("registered-models/alias?name=streamflow_churn&alias=champion")
    assert champion["model_version"]["version"] == released
    told = system.churn("predict", EXAMPLE, "--json")
    assert json.loads(told.stdout)["probability"] == body["probability"]


def test_the_ledger_has_a_decision_for_each_month_with_labels(
    system: System, filled: Filled
) -> None:
    done = system.churn("ledger", "--json")
    assert done.returncode == 0, done.stderr
    ledger = json.loads(done.stdout)
    assert ledger["whole"] is True
    assert [entry["month"] for entry in ledger["entries"]] == ["2024-01", "2024-02"]
    assert ledger["entries"][0]["outcome"] == "promote"
    assert ledger["entries"][1]["reasons"] == ["the champion is the challenger"]
    shown = system.churn("ledger").stdout
    assert "the chain is whole" in shown
    assert ledger["in_force"]["release_id"][:12] in shown


def test_health_and_metrics(system: System, filled: Filled) -> None:
    assert system.api("GET", "/health/ready").status_code == 200
    metrics = system.api("GET", "/metrics").text
    assert "api_requests_total{" in metrics
    assert "api_request_latency_seconds" in metrics
    assert EXAMPLE not in metrics
