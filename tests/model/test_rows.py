import logging
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn.model.rows import is_holdout, user_sample

# Golden: whoever changes the hash makes every model before and after incomparable.
HELD = ["user-000", "user-011"]
FIRST = [f"user-{n:03d}" for n in range(12)]


def test_a_quarter_is_held_out() -> None:
    held = is_holdout([f"user-{n}" for n in range(40_000)])
    assert abs(held.mean() - 0.25) < 0.008


def test_the_same_users_are_held_out_for_ever() -> None:
    held = is_holdout(FIRST)
    assert [user for user, out in zip(FIRST, held, strict=True) if out] == HELD


def test_arrays_and_lists_agree() -> None:
    assert (is_holdout(np.array(FIRST)) == is_holdout(FIRST)).all()
    assert (is_holdout(np.array(FIRST, dtype=object)) == is_holdout(FIRST)).all()
    assert is_holdout([]).tolist() == []


@given(st.lists(st.text(min_size=1), unique=True, max_size=40), st.randoms())
def test_each_user_is_judged_alone(users: list[str], shuffle: random.Random) -> None:
    known = dict(zip(users, is_holdout(users).tolist(), strict=True))
    shuffle.shuffle(users)
    half = users[: len(users) // 2]
    assert is_holdout(half).tolist() == [known[user] for user in half]


def test_all_users_up_to_the_limit() -> None:
    assert user_sample(FIRST, limit=12).all()


def test_sample_is_fixed_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    users = np.array([f"user-{n}" for n in range(1000)])
    with caplog.at_level(logging.INFO, logger="churn.model.rows"):
        chosen = user_sample(users, limit=100)
    assert caplog.messages == ["fitting on a fixed sample of 100 of 1000 users"]
    assert chosen.sum() == 100
    assert set(users[::-1][user_sample(users[::-1], limit=100)]) == set(users[chosen])


def test_sample_hardly_changes_when_users_join() -> None:
    users = np.array([f"user-{n}" for n in range(1000)])
    before = set(users[:950][user_sample(users[:950], limit=100)])
    after = set(users[user_sample(users, limit=100)])
    assert len(before & after) >= 85


def test_sample_is_independent_of_the_holdout() -> None:
    users = np.array([f"user-{n}" for n in range(8000)])
    chosen = user_sample(users, limit=4000)
    assert abs(is_holdout(users[chosen]).mean() - 0.25) < 0.03
