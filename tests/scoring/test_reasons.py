"""Reasons are exact: TreeSHAP against every subset by hand, and all contributions add up to the score."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest

from churn.contract.in_force import DEFAULT_SERVICE
from churn.model.arrays import Trees
from churn.model.candidates import fit_challenger, forest
from churn.model.encode import onnx_inputs
from churn.model.fitted import Fitted, explainer_of
from churn.model.kinds import FOREST, KINDS, LOGISTIC
from churn.model.kinds.forest import Forest
from churn.scoring import treeshap as pattern_tables
from churn.scoring.reasons import Explaining, Reason
from churn.scoring.treeshap import DeepTrees, PatternTables, TreeShap, open_tree_shap
from tests.kit.fitted_models import small_baseline, small_challengers

NAMES = [kind.name for kind in (*KINDS, FOREST)]
COLUMNS = 3


@pytest.fixture(scope="module")
def challengers() -> dict[str, Fitted]:
    baseline = small_baseline()
    # The full trees of the baseline, as a challenger of before had them, are explained, too.
    return {**small_challengers(), FOREST.name: fit_challenger(forest(baseline), baseline)}


def grow(
    rng: np.random.Generator, depth: int, *, columns: int = COLUMNS, widest: int = 1_000
) -> Trees:
    """Three random trees, with unknowns sent either way, and covers that add up; `widest` bounds splits."""
    nodes: list[list[float]] = []
    splits = 0

    def node(level: int, cover: float) -> int:
        at = len(nodes)
        nodes.append([])
        nonlocal splits
        if level == depth or splits == widest or (level and rng.random() < 0.2):
            nodes[at] = [0, 0, -1, -1, 0, rng.normal(), cover]
            return at
        splits += 1
        share = rng.uniform(0.1, 0.9)
        left, right = node(level + 1, cover * share), node(level + 1, cover * (1 - share))
        nodes[at] = [rng.integers(columns), rng.normal(), left, right, rng.random() < 0.5, 0, cover]
        return at

    roots = []
    for _ in range(3):
        splits = 0
        roots.append(node(0, 100.0))
    feature, threshold, left, right, missing, value, cover = map(np.array, zip(*nodes, strict=True))
    return Trees(
        0.0, np.array(roots), feature.astype(int), threshold, left.astype(int), right.astype(int),
        missing.astype(bool), value, cover,
    )  # fmt: skip


def expected(trees: Trees, at: int, row: np.ndarray, known: frozenset[int]) -> float:
    """The mean score of the training rows that are like `row` in the known columns."""
    if trees.left[at] < 0:
        return float(trees.value[at])
    sides = (trees.left[at], trees.right[at])
    if trees.feature[at] in known:
        x = row[trees.feature[at]]
        goes_left = trees.missing_left[at] if np.isnan(x) else x <= trees.threshold[at]
        return expected(trees, sides[0] if goes_left else sides[1], row, known)
    weights = trees.cover[list(sides)] / trees.cover[at]
    return sum(w * expected(trees, s, row, known) for w, s in zip(weights, sides, strict=True))


def shapley(trees: Trees, row: np.ndarray) -> list[float]:
    def worth(known: frozenset[int]) -> float:
        return sum(expected(trees, root, row, known) for root in trees.roots)

    values = []
    for column in range(COLUMNS):
        others = [c for c in range(COLUMNS) if c != column]
        total = 0.0
        for size in range(len(others) + 1):
            weight = math.factorial(size) * math.factorial(COLUMNS - size - 1)
            for subset in itertools.combinations(others, size):
                without = frozenset(subset)
                total += weight * (worth(without | {column}) - worth(without))
        values.append(total / math.factorial(COLUMNS))
    return [*values, worth(frozenset())]


@pytest.mark.parametrize("opened", [PatternTables, DeepTrees])
@pytest.mark.parametrize("seed", range(8))
def test_tree_contributions_are_shapley_values_by_hand(
    seed: int, opened: Callable[[Trees], TreeShap]
) -> None:
    rng = np.random.default_rng(seed)
    trees = grow(rng, depth=4)
    rows = rng.normal(size=(12, COLUMNS)).astype(np.float32)
    rows[rng.random(rows.shape) < 0.15] = np.nan
    inner = trees.left >= 0
    rows[0, :] = np.float32(trees.threshold[inner][0])  # exactly at a threshold
    contributions = opened(trees).contributions(rows)
    by_hand = [shapley(_as_float32(trees), row) for row in rows]
    np.testing.assert_allclose(contributions, by_hand, atol=1e-5)


def test_small_trees_are_looked_up_and_deep_ones_are_not(challengers: dict[str, Fitted]) -> None:
    ways = {kind.name: PatternTables for kind in KINDS if kind is not LOGISTIC} | {
        "forest": DeepTrees
    }
    for kind, way in ways.items():
        trees = explainer_of(challengers[kind]).trees
        assert trees is not None
        assert isinstance(open_tree_shap(trees), way)


def test_deep_trees_of_many_columns_are_exact() -> None:
    """Both ways agree on every row, whatever its block, where paths ask a column again and again."""
    rng = np.random.default_rng(5)
    chain = grow(rng, depth=9, columns=9, widest=pattern_tables.MOST_SPLITS)
    rows = rng.normal(size=(45, 9)).astype(np.float32)
    rows[rng.random(rows.shape) < 0.1] = np.nan
    looked_up, summed = (way(chain).contributions(rows) for way in (PatternTables, DeepTrees))
    np.testing.assert_allclose(summed, looked_up, atol=1e-12)
    one_by_one = [DeepTrees(chain).contributions(rows[at : at + 1])[0] for at in range(45)]
    np.testing.assert_array_equal(summed, one_by_one)


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    tables, rows = PatternTables(grow(rng, depth=3)), rng.normal(size=(50, COLUMNS)).astype("f4")
    whole = tables.contributions(rows)
    monkeypatch.setattr(pattern_tables, "_BLOCK_ROWS", 7)
    np.testing.assert_array_equal(tables.contributions(rows), whole)


def _as_float32(trees: Trees) -> Trees:
    import dataclasses

    from churn.model.onnx import floor32

    return dataclasses.replace(trees, threshold=floor32(trees.threshold).astype(float))


@pytest.mark.parametrize("kind", NAMES)
def test_contributions_add_up_to_the_served_score(
    kind: str, challengers: dict[str, Fitted]
) -> None:
    challenger = challengers[kind]
    explaining = Explaining(explainer_of(challenger))
    contributions = explaining.contributions(onnx_inputs(challenger.holdout, DEFAULT_SERVICE))
    total = contributions.values.sum(axis=1) + contributions.base
    assert challenger.calibration is not None
    if isinstance(challenger.kind, Forest):  # its score is a share, small trees or full ones
        served = challenger.pipeline.predict_proba(challenger.holdout)[:, 1]
    else:
        raw = challenger.kind.log_odds(challenger.pipeline, challenger.holdout)
        served = challenger.calibration.slope * raw + challenger.calibration.intercept
    np.testing.assert_allclose(total, served, atol=1e-4)
    assert contributions.names == [*DEFAULT_SERVICE.categorical_cols, *DEFAULT_SERVICE.numeric_cols]


@pytest.mark.parametrize("kind", NAMES)
def test_contributions_are_about_the_mean_training_user(
    kind: str, challengers: dict[str, Fitted]
) -> None:
    challenger = challengers[kind]
    contributions = Explaining(explainer_of(challenger)).contributions(
        onnx_inputs(challenger.data.features, DEFAULT_SERVICE)
    )
    if kind == "logistic":
        np.testing.assert_allclose(contributions.values.mean(axis=0), 0, atol=1e-9)
    unknown = contributions.names.index(
        "add_on_backup"
    )  # nobody's value is known: it tells nobody apart
    np.testing.assert_allclose(contributions.values[:, unknown], 0, atol=1e-9)


def test_what_raises_the_risk_comes_first_and_in_words(challengers: dict[str, Fitted]) -> None:
    challenger = challengers["logistic"]
    explaining = Explaining(explainer_of(challenger))
    inputs = onnx_inputs(challenger.holdout, DEFAULT_SERVICE)
    for reasons in explaining.reasons(inputs):
        values = [reason.contribution for reason in reasons]
        assert values == sorted(values, reverse=True)
        assert all(value > 0 for value in values)
        assert len(reasons) <= 3
    strongest = explaining.reasons(inputs, top=len(DEFAULT_SERVICE.features), raising=False)[0]
    assert len(strongest) == len(DEFAULT_SERVICE.features)
    sizes = [abs(reason.contribution) for reason in strongest]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("kind", NAMES)
def test_the_words_of_a_list_are_those_of_its_reasons(
    kind: str, challengers: dict[str, Fitted]
) -> None:
    challenger = challengers[kind]
    explaining = Explaining(explainer_of(challenger))
    inputs = onnx_inputs(challenger.holdout, DEFAULT_SERVICE)
    words = explaining.words(inputs)
    for row, reasons in zip(words, explaining.reasons(inputs), strict=True):
        assert row == [*(r.words for r in reasons), *[None] * (3 - len(reasons))]


def test_words_say_what_another_value_is_compared_with() -> None:
    fee = Reason("monthly_fee", 89.85, 64.76, 0.4)
    assert (
        fee.words
        == "fee of the month, in currency units: 89.85, above the usual 64.76, raises the risk"
    )
    months = Reason("months_active", 4.0, 29.0, -0.4)
    assert (
        months.words
        == "months since the subscription began: 4, below the usual 29, lowers the risk"
    )
    assert "no, where yes is usual, lowers" in Reason("add_on_support", 0.0, 1.0, -0.1).words
    contract = Reason("contract_type", "Month-to-month", "Two year", 0.2)
    assert contract.words == "contract: Month-to-month, where Two year is usual, raises the risk"
    unknown = Reason("net_service", None, "Fiber optic", 0.2)
    assert "unknown, where Fiber optic is usual, raises" in unknown.words


def test_the_usual_value_is_not_blamed_but_compared_with_the_average_customer() -> None:
    against = "compared with the average customer it raises the risk"
    contract = Reason("contract_type", "Month-to-month", "Month-to-month", 0.2)
    assert contract.words == f"contract: Month-to-month, which is usual; {against}"
    # A float32 that reads as the median does is not said to lie above it.
    fee = Reason("monthly_fee", 64.7600021362, 64.76, 0.1)
    assert fee.words == f"fee of the month, in currency units: 64.76, which is usual; {against}"
    nobody_knows = Reason("net_service", None, None, -0.2)
    assert (
        "unknown, which is usual; compared with the average customer it lowers"
        in nobody_knows.words
    )
    # Half of the users have it: neither yes nor no is usual.
    half = Reason("add_on_support", 1.0, 0.5, 0.2)
    assert half.words == f"premium support booked: yes; {against}"


def test_no_users_have_no_reasons(challengers: dict[str, Fitted]) -> None:
    for kind in NAMES:
        empty = onnx_inputs(challengers[kind].holdout[:0], DEFAULT_SERVICE)
        explaining = Explaining(explainer_of(challengers[kind]))
        assert explaining.reasons(empty) == explaining.words(empty) == []


@pytest.mark.parametrize("opened", [PatternTables, DeepTrees])
def test_a_single_leaf_explains_nothing(opened: Callable[[Trees], TreeShap]) -> None:
    leaf = Trees(
        0.0, np.array([0]), np.array([0]), np.array([0.0]), np.array([-1]), np.array([-1]),
        np.array([False]), np.array([0.7]), np.array([10.0]),
    )  # fmt: skip
    contributions = opened(leaf).contributions(np.zeros((3, 2), np.float32))
    np.testing.assert_allclose(contributions, [[0, 0, 0.7]] * 3, atol=1e-6)
