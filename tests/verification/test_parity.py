"""Parity passes where the online store tells the truth, and sees each way in which it may not."""

import pytest

from churn.contract.in_force import DEFAULT_SERVICE
from churn.database import connect
from churn.errors import ChurnError
from churn.online.publish import Publication, publish
from churn.verification.parity import parity
from feature_repo.store import apply_features
from tests.kit.snapshot_rows import FEBRUARY, JANUARY, put_profile

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
    comparison = parity(JANUARY)
    assert (comparison.none, comparison.users, comparison.mismatches) == (True, 4, 0)
    # The features of four users, and the as_of of each.
    assert comparison.values == 4 * (len(DEFAULT_SERVICE.features) + 1)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (
            "UPDATE online.users SET monthly_fee = 29.86 WHERE user_id = 'b'",
            "b: monthly_fee is 29.85",
        ),
        (
            "UPDATE online.users SET plan_stream_tv = true WHERE user_id = 'b'",
            "b: plan_stream_tv is None offline, True online",
        ),
        (
            "UPDATE online.users SET usage_agg_30d_fv = false WHERE user_id = 'c'",
            "c: watch_hours_30d is 1.5 offline, None online",
        ),
        (
            "UPDATE online.users SET as_of = as_of - interval '1 month' WHERE user_id = 'a'",
            "a: as_of is 2024-01-31",
        ),
    ],
    ids=["value", "unknown made true", "row missing", "row of an older month"],
)
def test_one_value_that_differs_is_seen(statement: str, words: str) -> None:
    spoil(statement)
    comparison = parity(JANUARY)
    assert not comparison.none
    assert any(example.startswith(words) for example in comparison.examples), comparison.examples


def test_a_user_who_is_not_online_is_seen() -> None:
    spoil("DELETE FROM online.users WHERE user_id = 'd'")
    assert parity(JANUARY).examples == ["d: no row online"]


def test_users_of_a_newer_month_are_compared_there() -> None:
    put_profile(FEBRUARY, ["a", "b"], monthly_fee=31.0)
    publish(FEBRUARY)
    january, february = parity(JANUARY), parity(FEBRUARY)
    assert (january.none, january.users) == (True, 2)
    assert (february.none, february.users) == (True, 2)


def test_a_publication_is_compared_before_it_is_served() -> None:
    put_profile(FEBRUARY, ["a", "b"], monthly_fee=31.0)

    def spoiled(_: Publication, table: str) -> None:
        spoil("UPDATE online.next_users SET monthly_fee = 32 WHERE user_id = 'b'")
        compared = parity(FEBRUARY, table=table)
        raise ChurnError("; ".join(compared.examples))

    with pytest.raises(ChurnError, match=r"^b: monthly_fee is 31.0 offline, 32.0 online$"):
        publish(FEBRUARY, spoiled)
    assert parity(JANUARY).none


def test_the_sample_is_bounded() -> None:
    assert parity(JANUARY, sample=3).users == 3
