"""A year in which things go wrong, played by the command itself: what was noticed, what was decided.

Its short form is test_short.py, three months in one process, and the tests that are named there.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from churn.population.scenario import LEAST_MONTHS, Troubles
from tests.kit.commands import environment

pytestmark = [
    pytest.mark.whole,
    pytest.mark.timeout(7200),  # a year through the real graph; to end what hangs
]
TROUBLES = Troubles.within(LEAST_MONTHS)
Row = dict[str, str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("simulation")


@pytest.fixture(scope="module")
def timeline(folder: Path) -> list[Row]:
    file = folder / "timeline.json"
    command = [sys.executable, "-m", "churn.cli.main", "simulate", "--users=1000"]
    done = subprocess.run(
        [*command, f"--months={TROUBLES.months}", f"--json={file}"],
        env=environment(folder / "home", OMP_NUM_THREADS="1"),
        capture_output=True,
        text=True,
        check=False,
        timeout=6000,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows: list[Row] = json.loads(Path(file).read_text(encoding="utf-8"))
    return rows


def drifted(folder: Path, month: str) -> set[str]:
    """The columns over their thresholds, as the month's report names them."""
    report = (folder / "home" / "simulation" / "reports" / f"{month}.md").read_text()
    over = re.search(r"^Over their thresholds: (.*)\.$", report, re.M)
    assert over
    return set(over[1].split(", ")) - {"nothing"}


def test_every_month_has_a_row_of_the_four_names(timeline: list[Row]) -> None:
    assert [list(row) for row in timeline] == [
        ["month", "planted", "detected_by", "decision"]
    ] * TROUBLES.months
    assert [row["month"] for row in timeline][:: TROUBLES.months - 1] == ["2024-01", "2024-12"]
    assert {n: row["planted"] for n, row in enumerate(timeline) if row["planted"]} == (
        TROUBLES.planted
    )


@pytest.mark.parametrize(
    ("number", "detected_by"),
    [
        (TROUBLES.price_rise, "feature_drift.no_drift"),
        (TROUBLES.corrected, "deliveries: corrected"),
        (TROUBLES.late, "late_drops"),
        (TROUBLES.label_process, "model_performance.as_estimated"),
        (TROUBLES.lost, "late_drops"),
    ],
)
def test_each_trouble_is_noticed_in_its_month_by_what_is_for_it(
    timeline: list[Row], number: int, detected_by: str
) -> None:
    assert detected_by in timeline[number]["detected_by"]


def test_features_do_not_see_a_changed_label_process(timeline: list[Row], folder: Path) -> None:
    """Nothing drifts but the fee, where the release was fitted before the prices rose."""
    row = timeline[TROUBLES.label_process]
    over = drifted(folder, row["month"])
    assert over <= {"monthly_fee"}
    assert ("feature_drift" in row["detected_by"]) == bool(over)


def test_quiet_months_are_quiet(timeline: list[Row]) -> None:
    quiet = [row for row in timeline[: TROUBLES.price_rise] if row["detected_by"]]
    assert quiet == []


def test_the_first_release_and_the_retraining_after_the_change_are_promoted(
    timeline: list[Row],
) -> None:
    assert timeline[0]["decision"].startswith("promote")
    after = [row["decision"] for row in timeline[TROUBLES.label_process + 1 :]]
    assert after[0].startswith("promote")  # fitted on the changed month, judged on the next one


def test_what_was_not_known_in_time_decides_nothing(timeline: list[Row]) -> None:
    late, lost = (timeline[n]["decision"] for n in (TROUBLES.late, TROUBLES.lost))
    assert late.startswith("keep")
    assert "were not known on" in late
    assert lost.startswith("keep")
    assert "was lost" in lost
    assert timeline[-1]["decision"] == "not taken yet"
