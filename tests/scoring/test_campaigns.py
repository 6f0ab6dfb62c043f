"""Campaigns as records: which one holds for a month, what is refused, and that nothing is ever changed."""

from pathlib import Path

import psycopg
import pytest

from churn.database import connect
from churn.errors import ChurnError
from churn.months import Month
from churn.scoring.campaigns import (
    TERMS,
    SavedCampaign,
    campaign_of_month,
    campaigns,
    next_month,
    save_campaign,
    terms_of_month,
)
from churn.scoring.uplift import Uplift, measure_uplift
from churn.settings import Settings, get_settings
from tests.kit.action_lists import USERS, campaign_month, put_labels
from tests.kit.console_lists import MAY
from tests.kit.planned_months import defaults, put_planned, saved

APRIL, JUNE, JULY = MAY.shift(-1), MAY.next, MAY.shift(2)


def of_month(month: Month) -> SavedCampaign | None:
    with connect() as connection:
        return campaign_of_month(connection, month)


def budget_of(month: Month) -> float:
    with connect() as connection:
        return terms_of_month(connection, month).budget


def test_without_a_campaign_the_settings_say_the_terms(settings: Settings) -> None:
    assert of_month(MAY) is None
    with connect() as connection:
        assert terms_of_month(connection, MAY) == get_settings().campaign
        assert campaigns(connection) == []
        assert next_month(connection) is None


def test_a_campaign_holds_from_its_month_on_and_the_newest_counts(settings: Settings) -> None:
    first, later = saved(MAY, budget=1_000), saved(JULY, budget=2_000)
    assert [of_month(month) for month in (APRIL, MAY, JUNE, JULY)] == [None, first, first, later]
    newest = saved(JUNE, budget=3_000)  # which takes the place of what was to begin in July
    assert [of_month(month) for month in (MAY, JUNE, JULY)] == [first, newest, newest]
    assert first.terms.model_dump() == {**defaults(), "budget": 1_000}
    assert (first.month, first.reason, first.actor) == (MAY, "to see", "test")
    with connect() as connection:
        assert campaigns(connection) == [newest, later, first]


def test_a_list_keeps_the_campaign_that_it_was_made_under(settings: Settings) -> None:
    first = saved(APRIL, budget=500)
    before = put_planned(MAY)
    saved(JUNE, budget=2_000)
    newest = saved(APRIL, budget=1_000)  # known too late for May, whose list is there
    assert of_month(MAY) == first
    assert of_month(JUNE) == newest
    assert of_month(APRIL) == newest
    with connect() as connection:
        connection.execute("DELETE FROM action_lists")  # a list that is made again
        connection.execute("DELETE FROM churn_scores")
        assert next_month(connection) == JUNE
        row = connection.execute(
            "SELECT campaign_id FROM retention.month WHERE month = %s", [MAY.first_day]
        ).fetchone()
    assert row == (first.campaign_id,)
    assert budget_of(MAY) == 500
    assert before


def test_a_list_made_by_the_settings_stays_so(settings: Settings) -> None:
    put_planned(MAY)
    saved(APRIL, budget=1_000)
    assert of_month(MAY) is None
    assert budget_of(MAY) == get_settings().campaign.budget


def test_a_month_in_which_nobody_could_be_scored_has_no_list_yet(settings: Settings) -> None:
    with connect() as connection:
        connection.execute(
            "INSERT INTO churn_score_runs (as_of, users) VALUES (%s, 0)", [MAY.as_of]
        )
        assert next_month(connection) is None
    assert saved(MAY, budget=1_000) == of_month(MAY)


def test_of_a_month_whose_list_is_there_nothing_can_be_saved(settings: Settings) -> None:
    put_planned(MAY)
    with pytest.raises(
        ChurnError, match=r"the list of 2024-05 is there already(.|\n)*such as 2024-06"
    ):
        saved(MAY)
    assert saved(JUNE)


REFUSED: tuple[tuple[dict[str, float], str], ...] = (
    ({"budget": -1.0}, "budget: Input should be greater than or equal to 0"),
    ({"control_share": 1.0}, "control_share: Input should be less than 1"),
    ({"budget": float("inf")}, "budget: not a finite number"),
    ({"contact_cost": float("nan")}, "contact_cost"),
    ({"accept_alpha": 0.0}, "accept_alpha"),
    ({"customer_value": 5.0}, "a contact can never pay"),
    ({"bonus": 1.0}, "all of them and no others"),
)


def test_terms_that_cannot_be_are_refused(settings: Settings) -> None:
    for terms, what in REFUSED:
        with pytest.raises(ChurnError, match=what):
            saved(MAY, **terms)
    with connect() as connection:
        assert campaigns(connection) == []


def test_a_campaign_needs_a_reason(settings: Settings) -> None:
    with connect() as connection, pytest.raises(ChurnError, match="a reason is needed"):
        save_campaign(connection, MAY, defaults(), reason=" ", actor="test")


def test_what_was_saved_is_never_changed(settings: Settings) -> None:
    saved(MAY)
    for statement in (
        "UPDATE decisions.campaigns SET budget = 1",
        "DELETE FROM decisions.campaigns",
        "TRUNCATE decisions.campaigns CASCADE",
    ):
        with connect() as connection, pytest.raises(psycopg.errors.RestrictViolation):
            connection.execute(statement)


def test_the_view_tells_what_was_saved(settings: Settings) -> None:
    one = saved(MAY, budget=1_234)
    with connect() as connection:
        names = ", ".join(TERMS)
        row = connection.execute(
            f"SELECT campaign_id, month, reason, actor, updated_at, {names} FROM retention.campaigns"
        ).fetchone()
    assert row == (
        one.campaign_id, MAY.first_day, "to see", "test", one.recorded_at,
        *(getattr(one.terms, name) for name in TERMS),
    )  # fmt: skip


def test_what_the_calls_brought_is_counted_in_the_campaigns_money(
    settings: Settings, tmp_path: Path
) -> None:
    one = saved(MAY, customer_value=50.0, contact_cost=3.0)
    campaign_month(tmp_path)
    put_labels(MAY, USERS[:100], USERS[100:])
    with connect() as connection:
        connection.execute("UPDATE churn_score_runs SET campaign_id = %s", [one.campaign_id])
    measured = measure_uplift(MAY)
    assert isinstance(measured, Uplift)
    assert measured.profit.estimate == pytest.approx(
        50 * measured.saved_users.estimate - measured.cost
    )
    assert measured.cost > 3 * measured.contacted
