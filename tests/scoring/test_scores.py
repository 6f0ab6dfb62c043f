"""The ranking of a month's users, what its checks say, and who is left alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn.evaluation.money import Campaign, expected_cost, expected_profit
from churn.months import Month
from churn.scoring.control_group import BANDS, control_group
from churn.scoring.scores import SCHEMA, Scored, rank, score_month, scored_from, scores_path
from churn.settings import Settings
from churn_assets.monthly import CheckFailed
from churn_assets.scores import UNSATURATED, outcomes
from tests.kit.releases import release
from tests.kit.snapshot_rows import JANUARY, put_profile

MARCH = Month.parse("2024-03")
CAMPAIGN = Campaign(budget=300.0)
USERS = [f"user-{n:03}" for n in range(60)]


def scored(probabilities: list[float], users: list[str] = USERS) -> pa.Table:
    ids = pa.array(users[: len(probabilities)])
    return rank(MARCH, "r", ids, np.array(probabilities), CAMPAIGN)


@given(st.lists(st.floats(0.001, 0.999), min_size=1, max_size=60))
def test_the_most_probable_leaver_comes_first_and_the_budget_holds(chances: list[float]) -> None:
    month_scores = scored(chances)
    probabilities = month_scores["probability"].to_numpy()
    assert sorted(chances, reverse=True) == probabilities.tolist()
    assert month_scores["rank"].to_pylist() == list(range(1, len(chances) + 1))
    np.testing.assert_allclose(
        month_scores["expected_profit"], expected_profit(probabilities, CAMPAIGN)
    )
    due = month_scores["is_action"].to_numpy(zero_copy_only=False)
    assert (expected_profit(probabilities, CAMPAIGN)[due] > 0).all()
    assert expected_cost(probabilities, CAMPAIGN)[due].sum() <= CAMPAIGN.budget
    assert not due[due.sum() :].any()  # nobody is left out in the middle


@given(st.permutations(USERS[:12]))
def test_the_order_of_the_users_decides_nothing(users: list[str]) -> None:
    same = [0.5] * len(users)
    assert scored(same, users).equals(scored(same, sorted(users)))


def made_of(probabilities: list[float], *, active: int | None = None) -> Scored:
    rows = scored(probabilities)
    return Scored(release("2024-02"), active or len(probabilities), rows, Path(), "f")


def passed(month_scores: Scored) -> dict[str, bool]:
    return {outcome.check: outcome.passed for outcome in outcomes(month_scores)}


def words(month_scores: Scored, check: str) -> str:
    return next(each.description or "" for each in outcomes(month_scores) if each.check == check)


SOUND = {"everybody": True, "probabilities": True, "unsaturated": True}


def test_sound_scores_pass() -> None:
    assert passed(made_of([0.1, 0.5, 0.9])) == SOUND


def test_where_users_are_worth_different_sums_the_most_profitable_call_comes_first() -> None:
    ids, chances = pa.array(["cheap", "dear", "lost"]), np.array([0.9, 0.5, 0.01])
    values = np.array([50.0, 2_000.0, 100.0])
    rows = rank(MARCH, "r", ids, chances, CAMPAIGN, values).to_pylist()
    assert [row["user_id"] for row in rows] == ["dear", "cheap", "lost"]
    kept = CAMPAIGN.accept_rate * (2_000 - CAMPAIGN.incentive_cost) - CAMPAIGN.contact_cost
    assert rows[0]["expected_profit"] == pytest.approx(0.5 * kept - 0.5 * CAMPAIGN.loss)
    assert [row["is_action"] for row in rows] == [True, rows[1]["expected_profit"] > 0, False]


def test_a_missing_user_fails() -> None:
    assert passed(made_of([0.1, 0.5], active=3)) == {**SOUND, "everybody": False}


@pytest.mark.parametrize("bad", [-0.1, 1.1, float("nan")])
def test_what_is_no_probability_fails_and_is_named(bad: float) -> None:
    month_scores = made_of([0.1, bad, 0.9])
    assert not passed(month_scores)["probabilities"]
    assert f"1 of 3 scores no probability: user-001 {bad:g}" in words(month_scores, "probabilities")


@pytest.mark.parametrize("edge", [0.0, 1.0])
def test_a_score_at_the_edge_of_float32_warns_and_names_the_user(edge: float) -> None:
    month_scores = made_of([0.1, edge, 0.9])
    assert passed(month_scores) == {**SOUND, "unsaturated": False}
    assert not UNSATURATED.blocking
    assert f"1 of 3 scores exactly 0 or 1: user-001 {edge:g}" in words(month_scores, "unsaturated")


def test_what_a_blocking_check_refuses_is_not_written(settings: Settings) -> None:
    put_profile(JANUARY, ["a"])

    def refuse(month_scores: Scored) -> None:
        raise CheckFailed(
            outcomes(replace(month_scores, active_users=-1, release=release("2024-02")))[0]
        )

    with pytest.raises(CheckFailed):
        score_month(JANUARY, judge=refuse)
    assert scored_from() == {}
    assert not scores_path(JANUARY).exists()
    score_month(JANUARY)
    assert list(scored_from()) == [JANUARY]


def test_one_score_for_everybody_fails() -> None:
    assert not passed(made_of([0.3, 0.3, 0.3]))["probabilities"]


def test_before_the_first_release_nobody_is_scored() -> None:
    nobody = replace(made_of([0.5]), release=None, rows=SCHEMA.empty_table(), active_users=9)
    assert passed(nobody) == SOUND
    assert {outcome.description for outcome in outcomes(nobody)} == {"no release yet"}
    assert not passed(replace(nobody, rows=scored([0.5])))["everybody"]


@given(st.integers(0, 300), st.floats(0, 0.5))
def test_the_same_share_of_every_band_is_left_alone(users: int, share: float) -> None:
    ids = [f"u{n}" for n in range(users)]
    left_alone = control_group(MARCH, ids, share)
    for band in np.array_split(left_alone, BANDS):
        assert band.sum() == round(share * len(band))


def test_another_month_leaves_others_alone() -> None:
    ids = [f"u{n}" for n in range(500)]
    march, april = (control_group(month, ids, 0.1) for month in (MARCH, MARCH.next))
    assert (march == control_group(MARCH, ids, 0.1)).all()
    assert 0 < (march & april).sum() < march.sum() / 2
