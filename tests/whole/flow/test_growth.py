"""A column added to a running system: the old champion serves on, the new one wins, and is rolled back."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from churn.contract.in_force import CONTRACT, DEFAULT_SERVICE
from churn.monitoring.thresholds import simulated_thresholds
from churn.population.drops import write_drops
from churn.stack.postgres import EmbeddedPostgres
from tests.kit.growing_service import COLUMN, JANUARY, NEW, OLD, grow, write_grown_contract
from tests.kit.servers import mlflow_server
from tests.kit.states import new_state

USERS = 500
# Columns whose threshold of drift nobody has derived yet, StreamFlow's own; there may be none.
UNTRIED = [
    name for name in DEFAULT_SERVICE.feature_names if name not in simulated_thresholds().turnover
]


@dataclass
class Walk:
    """What was seen before the contract grew, and after."""

    before: dict[str, Any]
    after: dict[str, Any]


@pytest.fixture(scope="module")
def walk(
    postgres: EmbeddedPostgres, empty_mlflow: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Walk]:
    folder = tmp_path_factory.mktemp("growth")
    drops = write_drops(folder / "drops", first=JANUARY, users=USERS, months=5)
    for drop in drops[2:]:
        grow(drop)
    shutil.copy(empty_mlflow, folder / "mlflow.db")
    (folder / "home").mkdir()
    with mlflow_server(folder) as url:
        state = new_state(postgres, folder / "home", url)
        grown = write_grown_contract(folder / "contract.yaml")
        yield Walk(
            _go(folder, state.environment),
            _go(folder, state.environment | {"CHURN_CONTRACT": str(grown)}),
        )


def _go(folder: Path, environment: dict[str, str]) -> dict[str, Any]:
    """Take the steps in a process of their own, since a process has one contract."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.kit.growing_service", str(folder / "drops")],
        env={**os.environ, **environment},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
        timeout=3000,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return seen


def test_what_was_there_before_stays_to_the_last_bit(walk: Walk) -> None:
    before, after = walk.before, walk.after
    assert after["contract"] != CONTRACT.fingerprint
    assert after["release"] == before["release"]
    assert after["february"] == before["february"]  # the same scores, list and reasons
    assert after["sets"] == before["sets"]
    assert after["rebuilt"] == {
        month: trained["set"] for month, trained in before["trained"].items()
    }
    for month in after["rebuilt"].values():
        assert month["features"] == DEFAULT_SERVICE.feature_names
        assert month["contract"] == CONTRACT.fingerprint
        assert (month["mismatches"], month["users_replayed"] > 0) == (0, True)


def test_the_old_champion_serves_by_its_own_features(walk: Walk) -> None:
    for name in ("old champion", "rolled back"):
        seen = walk.after[name]
        assert seen["statuses"] == [200], name
        assert seen["features_used"] == DEFAULT_SERVICE.feature_names
        assert set(seen["explained"]) == set(DEFAULT_SERVICE.feature_names)
        assert seen["features"] == [NEW, True]  # what the store has, whoever serves
        assert seen["health"]


def test_the_old_champion_scores_and_is_watched_until_it_is_beaten(walk: Walk) -> None:
    scored = walk.after["scored"]
    assert [(scored[m]["service"], scored[m]["month"]) for m in ("2024-03", "2024-04")] == [
        (OLD.recorded_name, "2024-01")
    ] * 2
    assert all(month["explained"] > 0 for month in scored.values())
    # The release was trained before there was such a column: its features and the score are compared.
    columns = len(DEFAULT_SERVICE.features) + 1
    assert walk.after["drift of february"] == {"columns": columns, "provisional": UNTRIED}
    assert walk.after["drift of april"] == {"columns": columns, "provisional": UNTRIED}


def test_a_model_of_the_grown_service_is_judged_like_any_other_and_wins(walk: Walk) -> None:
    after = walk.after
    for month in after["trained"].values():
        assert month["set"]["features"] == [*_in_order()]
        assert month["set"]["contract"] == after["contract"]
        assert month["set"]["mismatches"] == 0
        assert month["services"] == ["churn_baseline", NEW, NEW]
    assert walk.before["decisions"][0]["outcome"] == "promote"
    assert [entry["month"] for entry in after["decisions"]] == ["2024-03", "2024-04"]
    assert after["decisions"][-1]["outcome"] == "promote"
    assert {entry["problem"] for entry in after["decisions"]} == {""}
    may = after["scored"]["2024-05"]
    assert (may["service"], may["month"]) == (NEW, "2024-03")
    assert may["about_the_column"] > 0
    served = after["new champion"]
    assert (set(served["statuses"]), COLUMN in served["features_used"]) == ({200}, True)
    assert COLUMN in served["explained"]
    assert after["drift of may"] == {
        "columns": len(DEFAULT_SERVICE.features) + 2,
        "provisional": [*UNTRIED, COLUMN],
    }
    assert any(f"`{NEW}`" in card and after["contract"] in card for card in after["cards"])


def test_calibration_ends_what_was_provisional(walk: Walk) -> None:
    seen = walk.after["calibrated"]
    assert seen["months"] == 5
    # Three months have the new column: two pairs of neighbours.
    assert set(seen["columns"]) >= {*DEFAULT_SERVICE.feature_names, COLUMN}
    assert seen["drift of may"] == {
        "columns": len(DEFAULT_SERVICE.features) + 2,
        "provisional": [],
    }


def test_a_correction_of_either_side_of_the_growth_changes_no_training_set(walk: Walk) -> None:
    before, after = walk.before, walk.after
    february, april = after["corrected"]
    for corrected in (february, april):
        assert set(corrected["states"]) == {"corrected", "unchanged"}
        assert corrected["fees"] == [77.5]
    assert february["set"] == before["trained"]["2024-02"]["set"]["fingerprint"]
    assert april["set"] == after["trained"]["2024-04"]["set"]["fingerprint"]
    assert after["sets in the end"] == before["sets"]


def test_a_rollback_to_the_old_schema_is_whole(walk: Walk) -> None:
    after = walk.after
    assert after["release after rollback"] == walk.before["release"]
    assert (after["after rollback"]["service"], after["after rollback"]["about_the_column"]) == (
        OLD.recorded_name,
        0,
    )
    assert after["ledger is whole"]


def _in_order() -> Iterator[str]:
    """Yield the features of the grown service: the new one behind those of its view."""
    for view in DEFAULT_SERVICE.views:
        yield from view.feature_names
        if view.name == "usage_agg_30d_fv":
            yield COLUMN
