"""Months that fail once in a while, asked for again until nothing is due: the world of no failure at all."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from churn.months import Month
from churn_assets.definitions import build_defs
from tests.kit.planted_failures import (
    Fault,
    Plan,
    content,
    faults,
    mlflow_that_fails,
    work_until_nothing_is_due,
)
from tests.kit.states import FEBRUARY, JANUARY, MARCH, Fresh, State, entered
from tests.whole.flow.conftest import World

MONTHS, LABELLED = [JANUARY, FEBRUARY, MARCH], [JANUARY, FEBRUARY]
_SOME = 8  # of the assets; `make faults` plants one failure in each
_OF_JANUARY = "(datetime.datetime(2024, 1, 31, "  # how a row begins that is about it
_ROWS = ("publications", "score_runs", "scores", "actions", "drift", "performance")
Drawn = st.SearchStrategy[list[Fault]]


def some(months: list[Month], labelled: list[Month]) -> Drawn:
    """Draw one failure of each job, and of some assets."""

    @st.composite
    def chosen(draw: st.DrawFn) -> list[Fault]:
        drawn = draw(faults(months, labelled))
        of_assets = [fault for fault in drawn if fault.asset]
        numbers = draw(st.permutations(range(len(of_assets))))[:_SOME]
        return [fault for fault in drawn if not fault.asset] + [of_assets[n] for n in numbers]

    return chosen()


once = settings(
    max_examples=1,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def healed(state: State, drops: list[Path], planted: list[Fault]) -> dict[str, Any]:
    """Return what a state comes to in which runs over some drops fail as planted."""
    plan = Plan(set(planted))
    with state.entered():
        state.defs = build_defs({"mlflow": mlflow_that_fails(plan)})
    with entered(state):
        for drop in drops:
            state.deliver(drop)
        ended = work_until_nothing_is_due(state.instance)
        outcome = content()
    assert plan.open == set()
    # Several assets of one run may fail in it; none of these runs ended well.
    assert 0 < sum(not job.succeeded for job in ended) <= len(planted)
    return outcome


def of_january(outcome: dict[str, Any]) -> dict[str, Any]:
    """Return what is about January alone, however many months came after it."""
    rows = {name: [row for row in outcome[name] if row.startswith(_OF_JANUARY)] for name in _ROWS}
    return {
        **rows,
        "ledger": [entry for entry in outcome["ledger"] if entry["month"] == JANUARY],
        "training": outcome["training"][JANUARY],
    }


@once
@given(planted=some([JANUARY], [JANUARY]))
def test_a_month_that_failed_is_asked_for_again_and_is_as_if_nothing_had(
    built: World,
    fresh_state: Fresh,
    drops: list[Path],
    tmp_path_factory: pytest.TempPathFactory,
    planted: list[Fault],
) -> None:
    """The short form of the test below."""
    with built.state.entered():
        undisturbed = of_january(content())
    state = fresh_state(tmp_path_factory.mktemp("healing"), CHURN_RETRY_MINUTES="1," * 30 + "1")
    assert len(undisturbed["publications"]) == len(undisturbed["ledger"]) == 1
    assert of_january(healed(state, drops[:1], planted)) == undisturbed


@pytest.mark.whole
@once
@given(planted=some(MONTHS, LABELLED))
def test_what_failed_is_asked_for_again_and_the_world_is_as_if_nothing_had(
    built: World,
    fresh_state: Fresh,
    drops: list[Path],
    tmp_path_factory: pytest.TempPathFactory,
    planted: list[Fault],
) -> None:
    """Three months; the test above is its short form."""
    with built.state.entered():
        undisturbed = content()
    state = fresh_state(tmp_path_factory.mktemp("healing"), CHURN_RETRY_MINUTES="1," * 30 + "1")
    outcome = healed(state, drops, planted)
    for name, expected in undisturbed.items():
        assert outcome[name] == expected, name
