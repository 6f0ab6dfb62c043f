"""Bins and the distance on them: against evidently, against chance, against what would fool them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn.monitoring import evidently_report
from churn.monitoring.bins import UNKNOWN, Bins
from churn.monitoring.evidently_report import (
    drift_report_path,
    evidently_distances,
    write_drift_report,
)
from churn.monitoring.statistic import distances
from churn.settings import get_settings
from tests.monitoring.worlds import drift_between, model_of, month, world

RNG = np.random.default_rng(8)


def distance(before: pd.Series, after: pd.Series, *, is_number: bool = True) -> float:
    bins = Bins.of(before, is_number=is_number)
    frames = (pd.DataFrame({"x": bins.sort(values)}) for values in (before, after))
    return distances(*frames)["x"].value


@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), min_size=1, max_size=60))
def test_a_column_is_no_distance_from_itself(values: list[float | None]) -> None:
    column = pd.Series(values, dtype="float64")
    assert distance(column, column.sample(frac=1, random_state=1)) == pytest.approx(0, abs=1e-7)
    sorted_into = Bins.of(column, is_number=True).sort(column)
    assert ((sorted_into == UNKNOWN) == column.isna()).all()


def test_an_outlier_of_today_hides_nothing() -> None:
    before = pd.Series(RNG.normal(50, 10, 5_000))
    after = pd.Series(RNG.normal(65, 10, 5_000))
    plain = distance(before, after)
    after[0] = 1e9
    assert distance(before, after) == pytest.approx(plain, abs=0.005)
    assert plain > 0.3


def test_a_constant_that_moves_is_seen() -> None:
    constant = pd.Series(np.full(100, 24.0))
    for moved in (23.9, 24.1):
        assert distance(constant, pd.Series(np.full(100, moved))) == pytest.approx(
            np.sqrt(np.log(2))
        )


@pytest.mark.parametrize("is_number", [True, False])
def test_values_that_become_unknown_are_seen(is_number: bool) -> None:
    before = pd.Series(np.arange(1_000) % 7, dtype="Int64")
    after = before.mask(np.arange(1_000) < 200)
    assert distance(before, after, is_number=is_number) > 0.2


def test_a_category_never_seen_before_is_seen() -> None:
    before = pd.Series(["DSL", "Fiber optic", None] * 100)
    assert distance(before, before.replace("DSL", "Satellite"), is_number=False) > 0.4


@pytest.mark.parametrize(("rows", "others"), [(400, 400), (400, 4_000)])
def test_chance_is_what_two_samples_of_one_population_are_apart(rows: int, others: int) -> None:
    squares, chances = [], []
    for _ in range(200):
        before = pd.DataFrame({"x": RNG.integers(0, 8, rows)})
        after = pd.DataFrame({"x": RNG.integers(0, 8, others)})
        found = distances(before, after)["x"]
        squares.append(found.value**2)
        chances.append(found.chance)
    assert np.sqrt(np.mean(squares)) == pytest.approx(np.mean(chances), rel=0.1)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("CHURN_HOME", str(tmp_path))
    get_settings.cache_clear()
    yield tmp_path
    get_settings.cache_clear()


def test_evidently_finds_the_same_distances_and_writes_the_report(home: Path) -> None:
    played = world(3, 1_000, 71, fee_factor=1.3)
    drift = drift_between(played, 0, 2, model_of(1_000, 71))
    assert {column.feature: column.distance for column in drift.columns} == pytest.approx(
        evidently_distances(drift)
    )
    path = write_drift_report(drift)
    assert path == drift_report_path(month(2)) == Path(home, "reports/drift/2024-03.html")
    html = path.read_text()
    assert "<title>Drift of 2024-03 against 2024-01</title>" in html
    assert "monthly_fee" in html
    assert list(path.parent.iterdir()) == [path]


def test_a_report_of_many_users_draws_a_sample_and_says_so(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidently_report, "DRAWN_ROWS", 600)
    drift = drift_between(world(3, 1_000, 71), 0, 2, model_of(1_000, 71))
    said = {column.feature: column.distance for column in drift.columns}
    drawn = evidently_distances(drift)
    assert drawn == evidently_distances(drift)
    assert drawn != pytest.approx(said)
    assert drawn == pytest.approx(said, abs=0.1)
    html = write_drift_report(drift).read_text()
    assert "<title>Drift of 2024-03 against 2024-01, a sample of 600 of 1,000 users</title>" in html


def test_a_value_that_is_the_word_unknown_is_unknown() -> None:
    column = pd.Series(["unknown", None, "DSL"])
    sorted_into = Bins.of(column, is_number=False).sort(column)
    assert sorted_into.tolist() == [UNKNOWN, UNKNOWN, "DSL"]
