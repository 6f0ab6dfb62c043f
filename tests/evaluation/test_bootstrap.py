"""Intervals: right on known cases, the same every time, and refused where nothing can be said."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from churn.errors import ChurnError
from churn.evaluation import bootstrap
from churn.evaluation.bootstrap import MEASURES, auc, intervals, mean_interval, paired_difference


def drawn(users: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.beta(2, 5, users)
    return (rng.random(users) < truth).astype(np.int64), truth


@given(
    labels=st.lists(st.integers(0, 1), min_size=2, max_size=30),
    scores=st.lists(st.integers(0, 4), min_size=30, max_size=30),
    counts=st.lists(st.integers(0, 3), min_size=30, max_size=30),
)
def test_auc_of_a_resample_is_that_of_its_repeated_users(
    labels: list[int], scores: list[int], counts: list[int]
) -> None:
    n = len(labels)
    outcomes, score = np.array(labels), np.array(scores[:n]) / 4
    weight = np.array(counts[:n], dtype=float)
    estimate = auc(outcomes, score, weight[None])[0]
    repeated = np.repeat(np.arange(n), counts[:n])
    if len(set(outcomes[repeated])) < 2:
        assert np.isnan(estimate)
    else:
        assert estimate == pytest.approx(roc_auc_score(outcomes[repeated], score[repeated]))


def test_estimates_are_those_of_scikit_learn() -> None:
    labels, scores = drawn(500)
    estimated = intervals(labels, scores, tuple(MEASURES))
    assert estimated["auc"].estimate == pytest.approx(roc_auc_score(labels, scores))
    assert estimated["brier"].estimate == pytest.approx(brier_score_loss(labels, scores))
    assert estimated["log_loss"].estimate == pytest.approx(log_loss(labels, scores))
    assert estimated["churn_rate"].estimate == pytest.approx(labels.mean())
    assert all(each.low < each.estimate < each.high for each in estimated.values())


def test_95_percent_intervals_cover_the_truth_about_as_often() -> None:
    truth = roc_auc_score(*drawn(400_000))
    covered = 0
    for seed in range(200):
        interval = intervals(*drawn(400, seed + 10), resamples=200)["auc"]
        covered += interval.low <= truth <= interval.high
    assert 180 <= covered <= 199


def test_many_users_have_the_bounds_of_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, scores = drawn(10_000)
    worse = scores + np.random.default_rng(3).normal(0, 0.05, len(scores))
    everybody = intervals(labels, scores, tuple(MEASURES))
    difference = paired_difference(labels, scores, worse, "auc")
    monkeypatch.setattr(bootstrap, "DRAWN_USERS", 4_000)
    some = intervals(labels, scores, tuple(MEASURES))
    for name, interval in some.items():
        assert interval.estimate == everybody[name].estimate
        width = everybody[name].high - everybody[name].low
        assert interval.low == pytest.approx(everybody[name].low, abs=0.1 * width)
        assert interval.high == pytest.approx(everybody[name].high, abs=0.1 * width)
    paired = paired_difference(labels, scores, worse, "auc")
    assert paired.estimate == difference.estimate
    width = difference.high - difference.low
    assert paired == pytest.approx(difference, abs=0.1 * width)
    assert intervals(labels, scores) == {"auc": some["auc"]}


def test_a_model_is_exactly_as_good_as_itself() -> None:
    labels, scores = drawn(300)
    assert paired_difference(labels, scores, scores.copy(), "auc") == (0, 0, 0)


def test_a_paired_difference_sees_what_two_intervals_would_not() -> None:
    labels, scores = drawn(1_500)
    worse = scores + np.random.default_rng(3).normal(0, 0.05, len(scores))
    difference = paired_difference(labels, scores, worse, "auc")
    assert difference.low > 0
    each = [intervals(labels, one)["auc"] for one in (scores, worse)]
    assert each[1].high > each[0].low  # side by side they overlap


def test_the_same_users_give_the_same_interval() -> None:
    labels, scores = drawn(300)
    assert intervals(labels, scores) == intervals(labels, scores)
    assert intervals(labels, scores) != intervals(labels, scores, seed=1)


def test_resamples_are_judged_by_the_block_and_no_block_is_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is quick: a month's resamples are one call of the measure, however many there are."""
    shapes: list[tuple[int, ...]] = []

    def counted(labels: np.ndarray, scores: np.ndarray, counts: np.ndarray) -> np.ndarray:
        shapes.append(counts.shape)
        return auc(labels, scores, counts)

    monkeypatch.setitem(MEASURES, "auc", counted)
    labels, scores = drawn(1_760)
    intervals(labels, scores)
    assert shapes == [
        (1_000, 1_760),
        (1, 1_760),
        (1, 1_760),
    ]  # and the estimate of all and of the drawn
    shapes.clear()
    labels, scores = drawn(10_000)
    intervals(labels, scores)
    assert shapes == [(400, 10_000), (400, 10_000), (200, 10_000), (1, 10_000), (1, 10_000)]


@pytest.mark.parametrize(
    ("labels", "scores", "words"),
    [
        ([], [], "no users"),
        ([0, 0], [0.1, 0.2], "both are needed"),
        ([1, 1], [0.1, 0.2], "both are needed"),
        ([0, 1], [0.1, float("nan")], "not numbers"),
        ([0, 1], [0.1, float("inf")], "not numbers"),
        ([0, 1, 1], [0.1, 0.2], "2 probabilities for 3 labels"),
        ([0, 2], [0.1, 0.2], "neither 0 nor 1"),
    ],
)
def test_nothing_is_said_of_input_that_says_nothing(
    labels: list[int], scores: list[float], words: str
) -> None:
    with pytest.raises(ChurnError, match=words):
        intervals(np.array(labels), np.array(scores))
    with pytest.raises(ChurnError, match=words):
        paired_difference(np.array(labels), np.array(scores), np.array(scores), "auc")


def test_too_few_users_have_no_interval() -> None:
    with pytest.raises(ChurnError, match="too few"):
        intervals(np.array([0, 1]), np.array([0.1, 0.2]), resamples=50)


def test_a_mean_of_nothing_is_refused() -> None:
    with pytest.raises(ChurnError, match="nothing"):
        mean_interval(np.array([]))


@settings(max_examples=25)
@given(st.permutations(range(40)))
def test_the_estimate_knows_no_order(order: list[int]) -> None:
    labels, scores = drawn(40)
    labels[:2] = 0, 1
    moved = intervals(labels[order], scores[order], resamples=100)["auc"]
    assert moved.estimate == pytest.approx(intervals(labels, scores)["auc"].estimate)
