"""What probabilities say of themselves: against pairs counted by hand, and against labels drawn from them."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn.errors import ChurnError
from churn.evaluation import bootstrap
from churn.evaluation.confidence import METRICS, estimates
from churn.evaluation.metrics import evaluate
from churn.evaluation.money import Campaign, contact_profit

CAMPAIGN = Campaign()
chances = st.lists(st.sampled_from([0.02, 0.1, 0.1, 0.4, 0.8, 0.95]), min_size=2, max_size=12)


def nobody(count: int) -> np.ndarray:
    return np.zeros(count, dtype=bool)


@given(chances)
def test_the_expected_auc_is_the_share_of_expected_pairs_in_order(
    probabilities: list[float],
) -> None:
    in_order = pairs = 0.0
    for left, stayed in itertools.permutations(probabilities, 2):
        weight = left * (1 - stayed)
        pairs += weight
        in_order += weight * (1.0 if left > stayed else 0.5 if left == stayed else 0.0)
    estimated = estimates(np.array(probabilities), nobody(len(probabilities)), CAMPAIGN, draws=10)
    assert estimated["auc"].estimate == pytest.approx(in_order / pairs)


def test_labels_drawn_from_the_probabilities_are_what_was_expected() -> None:
    rng = np.random.default_rng(3)
    probabilities = rng.beta(0.7, 2.0, 4_000)
    contacted = probabilities > 0.4
    estimated = estimates(probabilities, contacted, CAMPAIGN, confidence=0.98)
    outside = 0
    for _ in range(40):
        labels = (rng.random(4_000) < probabilities).astype(np.int64)
        came = evaluate(labels, probabilities, 0.5) | {
            "churn_rate": labels.mean(),
            "profit": np.where(contacted, contact_profit(labels, CAMPAIGN), 0.0).mean(),
        }
        outside += sum(not estimated[m].low <= came[m] <= estimated[m].high for m in METRICS)
    assert outside <= 12  # 4 of 200 are due
    assert all(each.low < each.estimate < each.high for each in estimated.values())


def test_the_same_probabilities_give_the_same_bounds() -> None:
    probabilities = np.linspace(0.01, 0.9, 200)
    assert estimates(probabilities, nobody(200), CAMPAIGN) == estimates(
        probabilities, nobody(200), CAMPAIGN
    )


def test_many_users_have_the_bounds_of_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    probabilities = np.random.default_rng(3).beta(0.7, 2.0, 20_000)
    everybody = estimates(probabilities, probabilities > 0.4, CAMPAIGN)
    monkeypatch.setattr(bootstrap, "DRAWN_USERS", 5_000)
    for name, interval in estimates(probabilities, probabilities > 0.4, CAMPAIGN).items():
        assert interval.estimate == everybody[name].estimate
        width = everybody[name].high - everybody[name].low
        assert interval == pytest.approx(everybody[name], abs=0.15 * width)


@pytest.mark.parametrize("bad", [np.nan, -0.1, 1.2])
def test_what_is_no_probability_is_refused(bad: float) -> None:
    with pytest.raises(ChurnError, match="1 of them without a probability"):
        estimates(np.array([0.2, bad]), nobody(2), CAMPAIGN)
    with pytest.raises(ChurnError, match="0 users"):
        estimates(np.empty(0), nobody(0), CAMPAIGN)
