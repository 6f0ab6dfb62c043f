"""Months that fail once in a while, asked for again until nothing is due: the world of no failure at all."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from churn.due import Job
from churn_assets.definitions import build_defs
from tests.faults.planted import (
    Fault,
    Plan,
    content,
    faults,
    mlflow_that_fails,
    work_until_nothing_is_due,
)
from tests.flow.conftest import Fresh, World, entered
from tests.flow.states import FEBRUARY, JANUARY, MARCH

MONTHS, LABELLED = [JANUARY, FEBRUARY, MARCH], [JANUARY, FEBRUARY]
_SOME = 8  # of the assets; `make faults` plants one failure in each
JOBS: tuple[Job, ...] = ("month_close", "train_month", "score_month")


@st.composite
def some(draw: st.DrawFn) -> list[Fault]:
    """One failure of each job, and of some assets."""
    drawn = draw(faults(MONTHS, LABELLED))
    of_assets = [fault for fault in drawn if fault.asset]
    chosen = draw(st.permutations(range(len(of_assets))))[:_SOME]
    return [fault for fault in drawn if not fault.asset] + [of_assets[n] for n in chosen]


@settings(
    max_examples=1,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(planted=some())
def test_what_failed_is_asked_for_again_and_the_world_is_as_if_nothing_had(
    built: World,
    fresh_state: Fresh,
    drops: list[Path],
    tmp_path_factory: pytest.TempPathFactory,
    planted: list[Fault],
) -> None:
    with built.state.entered():
        undisturbed = content()
    plan = Plan(set(planted))
    state = fresh_state(tmp_path_factory.mktemp("healing"), CHURN_RETRY_MINUTES="1," * 30 + "1")
    with state.entered():
        state.defs = build_defs({"mlflow": mlflow_that_fails(plan)})
    with entered(state):
        for drop in drops:
            state.deliver(drop)
        ended = work_until_nothing_is_due(state.instance)
        found = content()
    assert plan.open == set()
    # Several assets of one run may fail in it; none of these runs ended well.
    assert 0 < sum(not job.succeeded for job in ended) <= len(planted)
    for name, expected in undisturbed.items():
        assert found[name] == expected, name
