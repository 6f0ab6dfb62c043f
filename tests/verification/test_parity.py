"""Parity passes where the online store tells the truth, and sees each way in which it may not."""

import pytest

from churn.database import connect
from churn.online import publish
from churn.verification.parity import parity
from feature_repo.store import apply_features
from tests.stages.world import FEBRUARY, JANUARY, put_profile

USERS = ["a", "b", "c", "d"]


@pytest.fixture(autouse=True)
def published(settings) -> None:
    apply_features()
    put_profile(JANUARY, USERS, monthly_fee=29.85, plan_stream_tv=None)
    publish(JANUARY)


def spoil(statement: str) -> None:
    with connect() as connection:
        connection.execute(statement)


def test_what_is_published_is_what_is_offline() -> None:
    found = parity(JANUARY)
    assert (found.none, found.users, found.mismatches) == (True, 4, 0)
    assert found.values == 4 * 25


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (
            "UPDATE online.subs_profile_fv SET monthly_fee = 29.86 WHERE user_id = 'b'",
            "b: monthly_fee is 29.85",
        ),
        (
            "UPDATE online.subs_profile_fv SET plan_stream_tv = true WHERE user_id = 'b'",
            "b: plan_stream_tv is None offline, True online",
        ),
        (
            "DELETE FROM online.usage_agg_30d_fv WHERE user_id = 'c'",
            "c: watch_hours_30d is 1.5 offline, None online",
        ),
        (
            "UPDATE online.users_profile_fv SET as_of = as_of + interval '1 month' WHERE user_id = 'a'",
            "a: as_of is 2024-01-31",
        ),
    ],
    ids=["value", "unknown made true", "row missing", "row of another month"],
)
def test_one_value_that_differs_is_seen(statement: str, words: str) -> None:
    spoil(statement)
    found = parity(JANUARY)
    assert not found.none
    assert any(example.startswith(words) for example in found.examples), found.examples


def test_a_user_who_is_not_online_is_seen() -> None:
    for table in (
        "users", "subs_profile_fv", "usage_agg_30d_fv", "payments_agg_90d_fv",
        "support_agg_90d_fv", "subs_contract_fv", "users_profile_fv",
    ):  # fmt: skip
        spoil(f"DELETE FROM online.{table} WHERE user_id = 'd'")
    assert parity(JANUARY).examples == ["d: no row online"]


def test_users_of_a_newer_month_are_compared_there() -> None:
    put_profile(FEBRUARY, ["a", "b"], monthly_fee=31.0)
    publish(FEBRUARY)
    january, february = parity(JANUARY), parity(FEBRUARY)
    assert (january.none, january.users) == (True, 2)
    assert (february.none, february.users) == (True, 2)


def test_the_sample_is_bounded() -> None:
    assert parity(JANUARY, sample=3).users == 3
