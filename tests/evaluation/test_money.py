"""What a campaign earns, against arithmetic."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import beta as beta_distribution

from churn.errors import ChurnError
from churn.evaluation.money import (
    Campaign,
    earned_per_user,
    empc,
    expected_cost,
    expected_profit,
    profit_threshold,
    within_budget,
)
from churn.settings import CampaignSettings

TERMS = Campaign()  # worth 200, offer 10, contact 1, three in ten accept
CHANCES = st.floats(0, 1, allow_nan=False)


def month(users: int = 20_000, rate: float = 0.3, seed: int = 5) -> np.ndarray:
    return (np.random.default_rng(seed).random(users) < rate).astype(np.int64)


def test_the_terms_are_worth_what_arithmetic_says() -> None:
    assert pytest.approx(0.3 * 190 - 1) == TERMS.gain
    assert TERMS.loss == 11
    assert profit_threshold(TERMS) == pytest.approx(11 / 67)


@given(CHANCES)
def test_a_contact_pays_above_the_threshold_only(chance: float) -> None:
    profit = float(expected_profit(np.array([chance]), TERMS)[0])
    if abs(chance - profit_threshold(TERMS)) > 1e-9:
        assert (profit > 0) == (chance > profit_threshold(TERMS))


def test_calling_nobody_earns_nothing_and_loses_to_a_perfect_model() -> None:
    labels = month()
    never = earned_per_user(labels, np.zeros(len(labels)), 0.5, TERMS).mean()
    perfect = earned_per_user(labels, labels.astype(float), 0.5, TERMS).mean()
    assert never == 0
    assert perfect == pytest.approx(labels.mean() * TERMS.gain)
    assert perfect > never


def test_a_random_model_earns_what_arithmetic_says() -> None:
    labels = month()
    share, rate = 0.4, labels.mean()
    scores = np.random.default_rng(6).random(len(labels))
    earned = earned_per_user(labels, scores, 1 - share, TERMS).mean()
    expected = share * (rate * TERMS.gain - (1 - rate) * TERMS.loss)
    spread = TERMS.gain / np.sqrt(len(labels))
    assert earned == pytest.approx(expected, abs=3 * spread)


def test_calibrated_probabilities_expect_what_is_realised() -> None:
    rng = np.random.default_rng(7)
    truth = rng.beta(2, 4, 200_000)
    labels = (rng.random(len(truth)) < truth).astype(np.int64)
    chosen = truth >= profit_threshold(TERMS)
    expected = expected_profit(truth, TERMS)[chosen].sum() / len(truth)
    assert earned_per_user(labels, truth, profit_threshold(TERMS), TERMS).mean() == pytest.approx(
        expected, rel=0.02
    )


@given(st.lists(CHANCES, min_size=1, max_size=50), st.floats(0, 300))
def test_the_budget_is_never_overspent_and_takes_the_best_first(
    chances: list[float], budget: float
) -> None:
    scores = np.array(chances)
    terms = dataclasses.replace(TERMS, budget=budget)
    chosen = within_budget(scores, terms)
    assert expected_cost(scores, terms)[chosen].sum() <= budget + 1e-9
    assert (expected_profit(scores, terms)[chosen] > 0).all()
    if chosen.any() and (~chosen).any():
        passed_over = scores[~chosen].max()
        assert scores[chosen].min() >= passed_over


def test_a_budget_that_binds_lowers_the_profit() -> None:
    labels = month(1_000)
    scores = np.linspace(0, 1, 1_000)
    poor = dataclasses.replace(TERMS, budget=100)
    perfect = labels.astype(float)
    assert (
        earned_per_user(labels, perfect, 0.5, poor).mean()
        < earned_per_user(labels, perfect, 0.5, TERMS).mean()
    )
    assert earned_per_user(labels, scores, 2.0, poor).mean() == 0


def test_empc_of_a_perfect_model_is_the_integral_of_the_paper() -> None:
    labels = month(2_000)
    share = labels.mean()

    def best(gamma: float) -> float:
        pays = gamma * 190 - 1
        everybody = share * pays - (1 - share) * 11
        density = beta_distribution.pdf(gamma, 6, 14)
        return float(max(0.0, share * pays, everybody) * density)

    integral = quad(best, 0, 1, limit=200)[0]
    assert empc(labels, labels.astype(float), TERMS) == pytest.approx(integral, rel=1e-3)


@pytest.mark.parametrize("decimals", [2, 12])
@pytest.mark.parametrize("terms", [TERMS, Campaign(60.0, 5.0, 4.0, 2.0, 3.0)])
def test_empc_is_that_of_empulse(terms: Campaign, decimals: int) -> None:
    from empulse.metrics import empc_score

    rng = np.random.default_rng(decimals)
    labels = month(1_500)
    # With two decimals many users share a probability.
    scores = np.round(np.clip(labels * 0.2 + rng.random(len(labels)) * 0.8, 0, 1), decimals)
    theirs = empc_score(
        labels,
        scores,
        alpha=terms.accept_alpha,
        beta=terms.accept_beta,
        clv=terms.customer_value,
        incentive_cost=terms.incentive_cost,
        contact_cost=terms.contact_cost,
    )
    assert empc(labels, scores, terms) == pytest.approx(theirs, rel=1e-9)


def test_empc_ranks_a_good_model_above_a_random_one() -> None:
    labels = month()
    rng = np.random.default_rng(8)
    good = np.clip(labels * 0.3 + rng.random(len(labels)) * 0.7, 0, 1)
    assert empc(labels, good, TERMS) > empc(labels, rng.random(len(labels)), TERMS)


def test_terms_under_which_no_contact_pays_are_refused() -> None:
    with pytest.raises(ChurnError, match="never pay"):
        Campaign.of(CampaignSettings(customer_value=5.0))


@pytest.mark.parametrize("scores", [[0.1, float("nan")], [0.1]])
def test_profit_of_nothing_is_refused(scores: list[float]) -> None:
    labels = np.array([0, 1])
    with pytest.raises(ChurnError):
        empc(labels, np.array(scores), TERMS)
