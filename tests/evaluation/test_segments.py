"""Figures by segment."""

import numpy as np
import pandas as pd
import pytest

from churn.errors import ChurnError
from churn.evaluation.segments import by_segment

RNG = np.random.default_rng(0)
USERS = 400
LABELS = (RNG.random(USERS) < 0.4).astype(np.int64)
# Told apart where the contract is monthly, and not at all elsewhere.
MONTHLY = np.arange(USERS) % 2 == 0
SCORES = np.where(MONTHLY, LABELS * 0.5 + 0.25, 0.5)
FEATURES = pd.DataFrame(
    {
        "contract_type": np.where(MONTHLY, "Month-to-month", "Two year"),
        "months_active": pd.array([None if n == 0 else n % 60 for n in range(USERS)], "Int64"),
        "user_is_senior": pd.array([n < 20 for n in range(USERS)], "boolean"),
    }
)


def test_each_segment_speaks_of_its_own_users() -> None:
    figures = {(f.segment, f.level): f for f in by_segment(FEATURES, LABELS, SCORES, 0.5)}
    monthly, yearly = (figures["contract_type", level] for level in ("Month-to-month", "Two year"))
    assert monthly.auc is not None
    assert monthly.auc.estimate == 1
    assert yearly.auc is not None
    assert yearly.auc.estimate == 0.5
    assert monthly.users == MONTHLY.sum()
    assert monthly.churn_rate == pytest.approx(LABELS[MONTHLY].mean())
    for segment in ("contract_type", "tenure_band", "user_is_senior"):
        assert sum(f.users for (name, _), f in figures.items() if name == segment) == USERS
    assert not any(name == "net_service" for name, _ in figures)  # no column, no segment
    assert figures["tenure_band", "unknown"].users == 1


def test_a_small_segment_says_how_small_it_is_and_no_auc() -> None:
    figures = {(f.segment, f.level): f for f in by_segment(FEATURES, LABELS, SCORES, 0.5)}
    seniors = figures["user_is_senior", "True"]
    assert (seniors.users, seniors.auc) == (20, None)


def test_segments_of_nothing_are_refused() -> None:
    with pytest.raises(ChurnError):
        by_segment(FEATURES.iloc[:0], LABELS[:0], SCORES[:0], 0.5)
