"""The short form of the year: a correction, a late drop and a price rise in three months, and one decision.

What only a longer history shows has its own short forms: a changed label process in
tests/monitoring/test_performance.py, a month that was late or lost, when its decision comes, in
tests/promotion/test_decide.py.
"""

import pytest

from churn.population.scenario import Troubles
from churn_assets.simulation import Played, as_json, simulate
from tests.kit.states import State
from tests.whole.simulation.conftest import MONTHS

NEVER = MONTHS  # not among the months that are played
TROUBLES = Troubles(
    corrected=0, late=1, price_rise=2, label_process=NEVER, lost=NEVER + 1, months=MONTHS
)


@pytest.fixture(scope="module")
def told() -> list[tuple[str, int, int]]:
    return []


@pytest.fixture(scope="module")
def played(state: State, told: list[tuple[str, int, int]]) -> Played:
    return simulate(
        state.home / "drops",
        TROUBLES,
        users=600,
        seed=42,
        on_progress=lambda stage, done, due, at: told.append((stage, done, due)),
    )


def test_each_trouble_is_noticed_in_its_month_and_nothing_else_is(played: Played) -> None:
    assert [(row.month, row.planted, row.detected_by) for row in played.rows] == [
        ("2024-01", "corrected drop", "deliveries: corrected, deliveries: known at 2024-03-01"),
        ("2024-02", "late drop", "late_drops, deliveries: known at 2024-04-01"),
        ("2024-03", "price rise", "feature_drift.no_drift"),
    ]


def test_what_was_known_in_time_is_decided_on_and_what_was_late_is_not_yet(played: Played) -> None:
    first, late, last = (row.decision for row in played.rows)
    assert first.startswith("promote")
    assert (late, last) == ("not taken yet", "not taken yet")


def test_nothing_failed_that_was_not_planted(played: Played) -> None:
    assert (played.failed, played.behind) == ([], [])


def test_who_waits_is_told_of_each_month(played: Played, told: list[tuple[str, int, int]]) -> None:
    assert told == [
        *[("generate", done, MONTHS) for done in (0, MONTHS)],
        *[("simulate", done, MONTHS) for done in range(MONTHS + 1)],
    ]


def test_a_row_has_the_four_names(played: Played) -> None:
    names = ["month", "planted", "detected_by", "decision"]
    assert [list(row) for row in as_json(played.rows)] == [names] * MONTHS
