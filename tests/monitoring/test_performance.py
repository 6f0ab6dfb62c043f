"""Estimated against realised: the February whose labels turned is seen the month its labels mature."""

from dataclasses import replace

import numpy as np
import pytest

from churn.errors import ChurnError
from churn.evaluation.bootstrap import Interval
from churn.monitoring.performance import Performance, Scores, alarm_of, measure_performance
from tests.kit.watched_months import (
    CAMPAIGN,
    GATE,
    drift_between,
    figure,
    ids,
    model_of,
    performance_of,
    scores_of,
    world,
)

USERS, SEED = 3_000, 41


@pytest.mark.parametrize("slope", [-1.0, 0.0])
def test_a_change_of_the_label_process_is_seen_by_labels_and_by_nothing_else(slope: float) -> None:
    february = world(2, USERS, SEED, label_slope=slope)
    model = model_of(USERS, SEED)
    before = measure_performance(
        replace(scores_of(february[1], model), labels=None), CAMPAIGN, GATE
    )
    assert not any(each.alarm for each in before)  # the scores look as good as ever
    assert figure(before, "all", "auc").estimated.estimate > 0.8
    assert drift_between(february, 0, 1, model).drifted == []  # and so do the features
    figures = performance_of(february[1], model)
    realised = figure(figures, "hold-out", "auc")
    assert "realised AUC" in realised.alarm
    assert "below its floor" in realised.alarm
    assert realised.realised is not None
    assert realised.realised.estimate < 0.6
    assert realised.error is not None
    assert realised.error > 0.2


def test_everybody_more_likely_to_leave_is_seen_in_the_churn_rate() -> None:
    february = world(2, USERS, SEED, label_shift=0.8)
    figures = performance_of(february[1], model_of(USERS, SEED))
    assert [each.metric for each in figures if each.alarm] == ["churn_rate"]
    assert "is not the estimate" in figure(figures, "hold-out", "churn_rate").alarm


def test_a_clean_month_is_as_estimated() -> None:
    for seed in range(51, 53):
        figures = performance_of(world(3, USERS, seed)[2], model_of(USERS, seed))
        assert [each.alarm for each in figures if each.alarm] == []
        auc = figure(figures, "all", "auc")
        assert auc.rows == USERS
        assert auc.error is not None
        assert abs(auc.error) < 0.03
        assert 500 < figure(figures, "hold-out", "auc").rows < 1_000


def test_the_estimate_learns_how_the_release_s_probabilities_have_held() -> None:
    """A release that is too sure of itself: its own figures flatter it until a month has matured."""

    def played(seed: int) -> Scores:
        rng = np.random.default_rng(seed)
        log_odds = rng.normal(-1.5, 1.5, 8_000)
        labels = (rng.random(8_000) < 1 / (1 + np.exp(-log_odds))).astype(np.int64)
        steep = 1 / (1 + np.exp(-1.3 * log_odds))
        return Scores(ids(8_000), steep, np.zeros(8_000, dtype=bool), labels)

    at_first = figure(measure_performance(played(1), CAMPAIGN, GATE), "hold-out", "auc")
    earlier = [played(2), played(3)]
    later = figure(measure_performance(played(1), CAMPAIGN, GATE, earlier), "hold-out", "auc")
    assert at_first.realised == later.realised
    assert at_first.error is not None
    assert later.error is not None
    assert at_first.error > 0.04
    assert abs(later.error) < at_first.error / 2
    widths = [each.estimated.high - each.estimated.low for each in (at_first, later)]
    assert widths[1] < widths[0]


def one_figure(metric: str, estimated: float, realised: float, users: str = "hold-out") -> str:
    each = Performance(
        users, metric, 100, Interval(estimated, estimated - 0.01, estimated + 0.01),
        Interval(realised, realised - 0.02, realised + 0.02),
    )  # fmt: skip
    return alarm_of(each, GATE)


@pytest.mark.parametrize(
    ("metric", "estimated", "realised", "words"),
    [
        ("auc", 0.85, 0.83, ""),  # apart, but within the noise of both
        ("auc", 0.85, 0.81, "below the estimate"),
        ("auc", 0.80, 0.90, ""),  # better is no alarm
        ("auc", 0.68, 0.67, "below its floor"),
        ("auc", 0.71, 0.69, ""),  # the floor lies within the noise
        ("churn_rate", 0.20, 0.24, "not the estimate"),
        ("churn_rate", 0.20, 0.16, "not the estimate"),
        ("churn_rate", 0.20, 0.22, ""),
        ("brier", 0.10, 0.30, ""),  # shown, never an alarm
    ],
)
def test_what_alarms(metric: str, estimated: float, realised: float, words: str) -> None:
    judged = one_figure(metric, estimated, realised)
    assert words in judged
    assert bool(judged) == bool(words)
    assert one_figure(metric, estimated, realised, users="all") == ""


def test_profit_is_of_those_who_are_contacted() -> None:
    users = ids(4_000)
    rng = np.random.default_rng(1)
    chances = rng.random(4_000)
    labels = (rng.random(4_000) < chances).astype(np.int64)
    nobody = measure_performance(
        Scores(users, chances, np.zeros(4_000, dtype=bool), labels), CAMPAIGN, GATE
    )
    everybody = measure_performance(
        Scores(users, chances, np.ones(4_000, dtype=bool), labels), CAMPAIGN, GATE
    )
    assert figure(nobody, "all", "profit").realised == (0, 0, 0)
    realised = figure(everybody, "all", "profit").realised
    assert realised is not None
    left = labels.mean()
    assert realised.estimate == pytest.approx(left * CAMPAIGN.gain - (1 - left) * CAMPAIGN.loss)


def test_without_hold_out_users_nothing_is_said() -> None:
    with pytest.raises(ChurnError, match="none of 0 scored users is held out"):
        measure_performance(Scores(ids(0), np.empty(0), np.empty(0, dtype=bool)), CAMPAIGN, GATE)
