"""Average precision and lift by resample agree with the plain figures, ties and all."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from churn.evaluation.bootstrap import average_precision, intervals, lift, lift_10
from churn.evaluation.metrics import lift as plain_lift
from churn.evaluation.money import Campaign, contact_profit, earned_per_user


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 6), st.integers(0, 3)), min_size=4, max_size=40
    )
)
def test_a_resample_is_the_users_it_has_drawn(users) -> None:
    labels, scores, counts = (np.array(column) for column in zip(*users, strict=True))
    labels, scores = labels.astype(np.int64), scores / 6
    drawn_labels, drawn = np.repeat(labels, counts), np.repeat(scores, counts)
    if drawn_labels.sum() == 0 or drawn_labels.all():
        return
    weights = counts[None, :].astype(float)
    assert average_precision(labels, scores, weights)[0] == pytest.approx(
        average_precision_score(drawn_labels, drawn)
    )
    for share in (0.05, 0.1, 0.5, 1.0):
        assert lift(share, labels, scores, weights)[0] == pytest.approx(
            plain_lift(drawn_labels, drawn, share)
        )


def test_known_answers() -> None:
    labels = np.array([1, 0, 0, 0, 1, 0, 0, 0, 0, 0])
    everybody = np.ones((1, 10))
    perfect = labels.astype(float)
    assert average_precision(labels, perfect, everybody)[0] == 1
    assert (
        lift_10(labels, perfect, everybody)[0] == 5
    )  # all of the first tenth leave, a fifth of all
    nothing_known = np.full(10, 0.3)
    assert average_precision(labels, nothing_known, everybody)[0] == pytest.approx(0.2)
    assert lift_10(labels, nothing_known, everybody)[0] == pytest.approx(1)


def test_they_have_intervals() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(300) < 0.3).astype(np.int64)
    scores = labels * 0.3 + rng.random(300)
    for name, interval in intervals(labels, scores, ("average_precision", "lift_10")).items():
        assert interval.low < interval.estimate < interval.high, name


def test_what_each_user_brought() -> None:
    labels, scores = np.array([1, 0, 1, 0]), np.array([0.9, 0.8, 0.7, 0.1])
    campaign = Campaign()
    earned = earned_per_user(labels, scores, 0.75, campaign)
    assert earned.tolist() == [*contact_profit(labels[:2], campaign), 0, 0]
    poor = Campaign(budget=5)  # a contact and its offer cost 4 to 11
    assert earned_per_user(labels, scores, 0.5, poor).tolist() == [campaign.gain, 0, 0, 0]
