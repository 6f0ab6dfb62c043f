"""One failure in each job and in each of its assets, then asked again: the world of no failure at all.

Months are drawn, and so is what is run next: the order of runs is the daemon's, and must not matter.
"""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from churn.months import months_between
from churn.population.drops import write_drops
from churn_assets.definitions import build_defs
from tests.kit.planted_failures import (
    Fault,
    Plan,
    content,
    faults,
    mlflow_that_fails,
    work_until_nothing_is_due,
)
from tests.kit.states import JANUARY, Fresh, entered
from tests.whole.faults.conftest import Trial

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]
MONTHS = list(months_between(JANUARY, JANUARY.shift(2)))
LABELLED = MONTHS[:-1]
USERS = 300
Play = Callable[[list[Fault], int], dict[str, Any]]


@pytest.fixture(scope="module")
def play(fresh_state: Fresh, tmp_path_factory: pytest.TempPathFactory) -> Play:
    """Put a world through its months with failures planted, in an order that a seed draws."""
    drops = write_drops(
        tmp_path_factory.mktemp("drops"), first=JANUARY, users=USERS, months=len(MONTHS)
    )

    def world(planted: list[Fault], seed: int) -> dict[str, Any]:
        plan, order = Plan(set(planted)), random.Random(seed)  # noqa: S311
        home: Path = tmp_path_factory.mktemp("faults")
        state = fresh_state(home, CHURN_RETRY_MINUTES=",".join(["1"] * 60))
        with state.entered():
            state.defs = build_defs({"mlflow": mlflow_that_fails(plan)})
        with entered(state):
            for drop in drops:
                state.deliver(drop)
            ended = work_until_nothing_is_due(state.instance, order.choice if planted else None)
            content_after = content()
        assert plan.open == set()
        # Several assets of one run may fail in it; none of these runs ended well.
        assert bool(planted) <= sum(not job.succeeded for job in ended) <= len(planted)
        shutil.rmtree(home)
        return content_after

    return world


@pytest.fixture(scope="module")
def unhindered(play: Play) -> dict[str, Any]:
    return play([], 0)


@settings(
    max_examples=2,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(planted=faults(MONTHS, LABELLED), seed=st.integers(0, 2**32))
def test_one_failure_in_each_job_and_asset_changes_nothing_that_lasts(
    play: Play, unhindered: dict[str, Any], trial: Trial, planted: list[Fault], seed: int
) -> None:
    contents = play(planted, seed)
    for _ in planted:
        trial.strike("planted", "failed runs, in as many words")
    for name, expected in unhindered.items():
        assert contents[name] == expected, name
