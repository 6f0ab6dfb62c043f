"""A small population, played once and written once for all the tests here."""

from pathlib import Path

import pandas as pd
import pytest

from churn.months import Month
from churn.population.base import load_base
from churn.population.drops import write_drops
from churn.population.simulate import PlayedMonth, play

FIRST = Month.parse("2024-01")


@pytest.fixture(scope="session")
def base() -> pd.DataFrame:
    return load_base()


@pytest.fixture(scope="session")
def played() -> list[PlayedMonth]:
    """The whole benchmark, six months."""
    return list(play(first=FIRST, months=6))


@pytest.fixture(scope="session")
def drops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 users, four months, on disk."""
    out = tmp_path_factory.mktemp("drops")
    write_drops(out, first=FIRST, users=300, months=4)
    return out
