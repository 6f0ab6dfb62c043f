import math

import numpy as np
import pytest

from churn.evaluation.metrics import calibration_bound, calibration_error, evaluate, lift


def test_known_answers() -> None:
    labels = np.array([0, 0, 0, 1, 1])
    metrics = evaluate(labels, np.array([0.1, 0.5, 0.4, 0.9, 0.45]), 0.5)
    assert metrics["auc"] == pytest.approx(5 / 6)
    assert metrics["f1"] == pytest.approx(0.5)
    assert metrics["accuracy"] == pytest.approx(3 / 5)
    assert metrics["average_precision"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert metrics["brier"] == pytest.approx((0.01 + 0.25 + 0.16 + 0.01 + 0.55**2) / 5)
    likelihoods = (0.9, 0.5, 0.6, 0.9, 0.45)
    assert metrics["log_loss"] == pytest.approx(-sum(map(math.log, likelihoods)) / 5)
    assert metrics["holdout_churn_rate"] == pytest.approx(0.4)
    confusion = ("true_negatives", "false_positives", "false_negatives", "true_positives")
    assert [metrics[name] for name in confusion] == [2, 1, 1, 1]  # .5 itself is said to leave


def test_perfect_and_useless() -> None:
    labels = np.array([0, 1])
    assert evaluate(labels, np.array([0.0, 1.0]), 0.5)["auc"] == 1
    nobody = evaluate(labels, np.array([0.2, 0.2]), 0.5)
    assert (nobody["auc"], nobody["f1"]) == (0.5, 0)


def test_lift_is_a_multiple_of_the_rate() -> None:
    labels = np.array([1, 1, 0, 0, 0, 0, 0, 0, 0, 0])
    scores = np.linspace(1, 0.1, 10)
    assert lift(labels, scores, 0.10) == pytest.approx(5)
    assert lift(labels, scores, 0.20) == pytest.approx(5)
    assert lift(labels, np.full(10, 0.2), 0.10) == pytest.approx(1)  # ties tell nobody apart


def test_calibration_error_is_the_distance_of_said_from_seen() -> None:
    labels = np.array([1, 0] * 50)
    assert calibration_error(labels, np.full(100, 0.5)) == pytest.approx(0)
    assert calibration_error(labels, np.full(100, 0.8)) == pytest.approx(0.3)


def test_calibrated_scores_have_the_error_of_sampling_only() -> None:
    rng = np.random.default_rng(2)
    truth = rng.random(50_000)
    labels = (rng.random(50_000) < truth).astype(np.int64)
    assert calibration_error(labels, truth) < 0.01
    assert calibration_error(labels, truth**2) > 0.1


def test_perfect_probabilities_stay_within_the_calibration_bound_and_poor_ones_do_not() -> None:
    rng = np.random.default_rng(4)
    alarms = 0
    for _ in range(300):
        truth = rng.beta(2, 4, 1_760)
        labels = (rng.random(1_760) < truth).astype(np.int64)
        alarms += calibration_error(labels, truth) > calibration_bound(1_760)
        assert calibration_error(labels, truth**0.5) > calibration_bound(1_760)
    assert alarms <= 2
