"""What matured months say of a release's calibration, and what is not known of it before they do."""

import numpy as np
import pytest

from churn.evaluation.confidence import (
    MOVED_INTERCEPT,
    MOVED_SLOPE,
    Recalibration,
    estimates,
    recalibration,
)
from churn.evaluation.metrics import evaluate
from churn.evaluation.money import Campaign

CAMPAIGN = Campaign()


def sigmoid(log_odds: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-log_odds))


def month(
    users: int, seed: int, slope: float = 1.0, intercept: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Served probabilities, and labels that follow them by another slope and intercept."""
    rng = np.random.default_rng(seed)
    log_odds = rng.normal(-1.5, 1.7, users)
    labels = rng.random(users) < sigmoid(slope * log_odds + intercept)
    return sigmoid(log_odds), labels.astype(np.int64)


def test_without_a_month_the_probabilities_are_taken_as_they_are() -> None:
    served, _ = month(5_000, 1)
    known = recalibration(served)
    assert (known.slope, known.intercept) == (1.0, 0.0)
    assert known.probabilities(served).tobytes() == served.tobytes()


def test_a_calibration_of_many_users_is_surer_but_never_sure() -> None:
    few, many = (recalibration(month(users, 1)[0]).covariance for users in (700, 200_000))
    assert few[0, 0] > 2 * MOVED_SLOPE**2
    assert many[0, 0] == pytest.approx(MOVED_SLOPE**2, rel=0.05)
    assert many[1, 1] == pytest.approx(MOVED_INTERCEPT**2, rel=0.05)
    nobody = recalibration(np.empty(0)).covariance
    assert np.sqrt(nobody[0, 0]) == pytest.approx(1, abs=0.01)


def test_months_that_matured_say_how_the_probabilities_hold() -> None:
    served, _ = month(5_000, 1)
    much = recalibration(served, [month(40_000, seed, 0.8, 0.3) for seed in (2, 3)])
    assert (much.slope, much.intercept) == (
        pytest.approx(0.8, abs=0.03),
        pytest.approx(0.3, abs=0.05),
    )
    little = recalibration(served, [month(300, 2, 0.8, 0.3)])
    assert 0.85 < little.slope < 1  # a few users do not say much
    assert much.covariance[0, 0] < little.covariance[0, 0] < recalibration(served).covariance[0, 0]


def test_a_turned_process_is_learned_and_does_not_run_away() -> None:
    turned = recalibration(month(5_000, 1)[0], [month(7_000, 2, -1.0, -3.0)])
    assert -1 < turned.slope < -0.4


def test_one_user_whose_score_is_zero_and_who_left_moves_little() -> None:
    served, labels = month(5_000, 2)
    without = recalibration(served, [(served, labels)])
    beside = recalibration(served, [(np.append(served, 0.0), np.append(labels, 1))])
    assert beside.slope == pytest.approx(without.slope, abs=0.03)


def test_what_comes_is_inside_the_bounds_as_often_as_they_say() -> None:
    """Releases whose calibration strays as they do: only bounds that know of it hold."""
    rng = np.random.default_rng(4)
    nobody = np.zeros(1_500, dtype=bool)
    inside = {"as they stand": 0, "known": 0}
    for seed in range(60):
        served, _ = month(1_500, seed)
        covariance = recalibration(served).covariance
        slope, intercept = rng.multivariate_normal([1.0, 0.0], covariance)
        _, labels = month(1_500, seed, slope, intercept)
        came = evaluate(labels, served, 0.5)["auc"]
        for name, known in (
            ("as they stand", None),
            ("known", Recalibration(1.0, 0.0, covariance)),
        ):
            expected = estimates(served, nobody, CAMPAIGN, draws=100, recalibration=known)["auc"]
            inside[name] += expected.low <= came <= expected.high
    assert inside["known"] >= 53  # 57 are due
    assert inside["as they stand"] <= inside["known"] - 8


def test_the_estimate_is_of_what_is_expected_and_the_scores_stay_those_that_were_served() -> None:
    served, _ = month(20_000, 1)
    _, labels = month(20_000, 1, 0.7, 0.4)
    known = Recalibration(0.7, 0.4, np.eye(2) * 1e-8)
    contacted = served > 0.3
    expected = estimates(served, contacted, CAMPAIGN, draws=50, recalibration=known)
    came = evaluate(labels, served, 0.5)
    for name in ("auc", "log_loss", "brier"):
        assert expected[name].estimate == pytest.approx(came[name], abs=0.01)
    assert expected["churn_rate"].estimate == pytest.approx(labels.mean(), abs=0.01)
