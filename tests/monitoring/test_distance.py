"""Bins and the distance on them: against arithmetic, against chance, against what would fool them."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn.monitoring.distance import UNKNOWN, Bins, distances
from churn.monitoring.drift import ColumnDrift, Drift, drift_page, drift_page_path, write_drift_page
from churn.settings import get_settings
from tests.kit.watched_months import drift_between, model_of, month, world

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
        apart = distances(before, after)["x"]
        squares.append(apart.value**2)
        chances.append(apart.chance)
    assert np.sqrt(np.mean(squares)) == pytest.approx(np.mean(chances), rel=0.1)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("CHURN_HOME", str(tmp_path))
    get_settings.cache_clear()
    yield tmp_path
    get_settings.cache_clear()


def test_the_distance_is_that_of_the_formula() -> None:
    before, after = pd.Series(["a"] * 3 + ["b"]), pd.Series(["a"] + ["b"] * 2 + ["c"])
    p, q = np.array([0.75, 0.25, 0]), np.array([0.25, 0.5, 0.25])
    middle = (p + q) / 2

    def divergence(part: np.ndarray) -> float:
        own = part > 0
        return float(np.sum(part[own] * np.log(part[own] / middle[own])))

    expected = np.sqrt((divergence(p) + divergence(q)) / 2)
    assert distance(before, after, is_number=False) == pytest.approx(expected)


def test_the_page_names_what_drifted_first_and_needs_nothing_from_elsewhere(home: Path) -> None:
    drift = drift_between(world(3, 1_000, 71, fee_factor=1.3), 0, 2, model_of(1_000, 71))
    path = write_drift_page(drift)
    assert path == drift_page_path(month(2)) == Path(home, "reports/drift/2024-03.html")
    html = path.read_text()
    assert "<title>Drift of 2024-03 against 2024-01</title>" in html
    assert html.index(f">{drift.drifted[0].feature}<") < html.index(">user_is_senior<")
    assert not re.search(r"<script|src=|href=\"(?!#)|@import|url\(", html)
    assert list(path.parent.iterdir()) == [path]


def test_a_column_of_the_page_shows_the_share_of_users_in_each_bin() -> None:
    html = drift_page(drift_of(pd.Series(["a"] * 3 + ["b"]), pd.Series(["a"] + ["b"] * 3)))
    assert re.findall(r'number">(.*?) %', html) == ["75.0", "25.0", "25.0", "75.0"]


def test_a_value_of_the_data_is_text_on_the_page_and_never_markup() -> None:
    name = "</script><script>alert(1)</script>"
    html = drift_page(drift_of(pd.Series([name, "b"]), pd.Series([name, "b"])))
    assert "<script" not in html
    assert "&lt;/script&gt;&lt;script&gt;alert(1)" in html


def test_many_categories_are_drawn_as_their_largest_and_the_rest() -> None:
    many = pd.Series([f"c{n:03}" for n in range(200)] + ["c150"] * 50)
    html = drift_page(drift_of(many, many))
    assert html.count('class="bar"') == 21
    assert html.index("<td>c150</td>") < html.index("<td>c000</td>") < html.index("all others")


def drift_of(before: pd.Series, after: pd.Series) -> Drift:
    bins = Bins.of(before, is_number=False)
    frames = [pd.DataFrame({"x": bins.sort(values)}) for values in (before, after)]
    column = ColumnDrift("x", len(before), len(after), 0.1, 0.2)
    return Drift(month(1), month(0), [column], {"features": frames[0]}, {"features": frames[1]})


def test_a_value_that_is_the_word_unknown_is_unknown() -> None:
    column = pd.Series(["unknown", None, "DSL"])
    sorted_into = Bins.of(column, is_number=False).sort(column)
    assert sorted_into.tolist() == [UNKNOWN, UNKNOWN, "DSL"]
