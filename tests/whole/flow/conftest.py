"""A small world: three months of 600 users, put through the whole graph once; and states to spoil."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from churn.contract.in_force import LABELS
from churn.months import Month
from churn.population.drops import write_drops
from churn.stack.postgres import EmbeddedPostgres
from churn.warehouse.raw import load_raw
from churn.warehouse.snapshots import build_snapshot
from churn_assets.run import JobResult
from tests.kit.close_month import close
from tests.kit.states import (
    FEBRUARY,
    JANUARY,
    MARCH,
    Fresh,
    State,
    entered,
    forget_models,
    new_state,
    running_api,
)

USERS = 600


@dataclass
class World:
    """The built world and how each job ended."""

    state: State
    drops: list[Path]
    jobs: dict[tuple[str, Month], JobResult]


@pytest.fixture(scope="session")
def drops(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """January to March; March has no labels yet."""
    return write_drops(tmp_path_factory.mktemp("drops"), first=JANUARY, users=USERS, months=3)


@pytest.fixture(scope="session")
def built(
    postgres: EmbeddedPostgres,
    mlflow_url: str,
    drops: list[Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[World]:
    state = new_state(postgres, tmp_path_factory.mktemp("world"), mlflow_url)
    state.environment["CHURN_ORACLE"] = str(drops[0].parent / "oracle")
    with running_api(state):
        with state.entered():
            forget_models()
            jobs = {}
            for drop in drops:
                state.deliver(drop)
            for month in (JANUARY, FEBRUARY, MARCH):
                jobs["month_close", month] = state.close(month)
            for month in (JANUARY, FEBRUARY):
                jobs["train_month", month] = state.train(month)
            for month in (JANUARY, FEBRUARY, MARCH):
                jobs["score_month", month] = state.score(month)
        yield World(state, drops, jobs)
        with state.entered():
            forget_models()


@pytest.fixture
def world(built: World) -> Iterator[World]:
    """The built world, entered; a test leaves it as it was."""
    with built.state.entered():
        yield built


@pytest.fixture(scope="session")
def closed_january(fresh_state: Fresh, drops: list[Path], tmp_path_factory) -> State:
    """A state in which January is accepted and in every table, view and online store."""
    state = fresh_state(tmp_path_factory.mktemp("january"))
    with entered(state):
        state.deliver(drops[0])
        close(JANUARY)
        load_raw(JANUARY, LABELS)
        build_snapshot(JANUARY, LABELS)
    return state


@pytest.fixture
def closed(closed_january: State, fresh_state: Fresh, tmp_path: Path) -> Iterator[State]:
    """A copy of `closed_january` for one test to spoil; nothing is in its Dagster instance."""
    home = tmp_path / "home"
    shutil.copytree(closed_january.home, home)
    state = fresh_state(home, template=closed_january.environment["POSTGRES_DB"])
    with entered(state):
        yield state
