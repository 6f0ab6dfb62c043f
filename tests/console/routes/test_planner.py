"""Planner: the plan beside the list that ran, under any terms; and who may save them as a campaign."""

import html
import re
from collections.abc import Callable

import numpy as np
import pytest

from churn.database import connect
from churn.evaluation.money import Campaign
from churn.scoring.campaigns import TERMS, campaigns
from churn.scoring.control_group import control_hashes
from churn.scoring.plan import MonthScores, plan
from churn.settings import Settings, get_settings
from console.curve import drawn, ticks
from console.pages import NOTHING, money
from console.roles import Role
from console.routes import planner
from tests.console.conftest import Someone
from tests.kit.console_lists import MAY
from tests.kit.planned_months import chances, defaults, put_planned, saved

JUNE = MAY.next


def text(someone: Someone, **asked: object) -> str:
    answer = someone.get("/planner", params=asked)
    assert answer.status_code == 200, answer.text
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", answer.text)).split())


def row_of(someone: Someone, name: str, **asked: object) -> list[str]:
    """Return what the page says of a figure: planned, and of the list that ran."""
    answer = someone.get("/planner", params=asked).text
    (cells,) = re.findall(rf'<th scope="row">{re.escape(name)}</th>(.*?)</tr>', answer)
    return re.findall(r">([^<]+)</td>", cells)


def form(**more: str) -> dict[str, str]:
    return {"month": "2024-05", "first_month": "2024-06", "reason": "more budget", **more}


def test_under_its_own_terms_the_plan_is_the_list(settings: Settings, viewer: Someone) -> None:
    listed = put_planned()
    treated = [row for row in listed if row.group == "treated"]
    for name, value in (
        ("users on the list", f"{len(listed)}"),
        ("to be called", f"{len(treated)}"),
        ("to be left alone", f"{len(listed) - len(treated)}"),
        (
            "expected profit of those to be called, currency units",
            money(sum(row.profit for row in treated)),
        ),
        (
            "cut-off: lowest risk on the list",
            f"{100 * min(row.probability for row in listed):.1f} %",
        ),
    ):
        assert row_of(viewer, name) == [value, value]
    planned, ran = row_of(viewer, "expected cost of those to be called, currency units")
    assert planned == ran != "0"
    page = text(viewer)
    assert "The terms of this month are those of the settings" in page
    assert "None was saved yet" in page


def test_other_terms_give_another_plan_and_the_list_that_ran_stands(
    settings: Settings, viewer: Someone
) -> None:
    listed = put_planned()
    campaign = Campaign(**{**defaults(), "budget": 100.0, "control_share": 0.5})
    served = np.sort(chances().astype(np.float64))[::-1]
    hashes = control_hashes(MAY, [f"{n}" for n in range(len(served))])
    expected = plan(MonthScores(served, None, hashes), campaign)
    asked = {"month": "2024-05", "budget": "100", "control_share": "0.5", "contact_cost": ""}
    assert row_of(viewer, "users on the list", **asked) == [
        f"{expected.listed}",
        f"{len(listed)}",
    ]
    assert row_of(viewer, "to be called", **asked)[0] == f"{expected.treated}"
    page = viewer.get("/planner", params=asked).text
    assert re.search(r'name="budget" type="number"[^>]*value="100"', page)
    assert re.search(r'name="contact_cost" type="number"[^>]*value="1"', page)
    assert '<polyline class="profit"' in page
    assert "the end of the list" in page
    assert "<script>" not in page


def test_settings_that_have_changed_say_nothing_of_what_the_list_cost(
    settings: Settings, viewer: Someone, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = put_planned()
    monkeypatch.setenv("CHURN_CAMPAIGN_BUDGET", "50")
    get_settings.cache_clear()
    assert row_of(viewer, "users on the list")[1] == f"{len(listed)}"
    assert row_of(viewer, "expected cost of those to be called, currency units")[1] == NOTHING


def test_a_budget_without_an_end_is_shown_as_one_that_nobody_reaches(
    settings: Settings, viewer: Someone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHURN_CAMPAIGN_BUDGET", "inf")
    get_settings.cache_clear()
    put_planned()
    first, second = row_of(viewer, "users on the list")
    assert first == second
    assert 'name="budget" type="number" step="any" min="0" required value="1000000000000"' in (
        viewer.get("/planner").text
    )


def test_terms_under_which_no_call_pays_and_a_budget_that_reaches_nobody(
    settings: Settings, viewer: Someone
) -> None:
    put_planned()
    assert "calling pays for nobody under these terms" in text(viewer, customer_value="5")
    assert "The budget reaches none of them." in text(viewer, budget="0")


def test_terms_that_cannot_be_are_told(settings: Settings, viewer: Someone) -> None:
    put_planned()
    asked = (
        "budget=-1",
        "budget=x",
        "budget=inf",
        "budget=nan",
        "control_share=1",
        "accept_beta=0",
    )
    for each in asked:
        answer = viewer.get(f"/planner?{each}")
        assert answer.status_code == 422, each
        assert each.split("=")[0] in answer.text


def test_without_scores_there_is_nothing_to_plan_with(settings: Settings, viewer: Someone) -> None:
    assert "No drop was accepted yet" in viewer.get("/planner").text
    put_planned(probabilities=np.empty(0, np.float32))
    page = text(viewer)
    assert "nobody was scored, so there is nothing to plan with" in page
    assert "<svg" not in viewer.get("/planner").text
    assert viewer.get("/planner?month=2031-01").status_code == 404


def test_a_month_that_is_scored_again_is_read_again(settings: Settings, viewer: Someone) -> None:
    put_planned()
    before = int(row_of(viewer, "users on the list")[0])
    hits = planner._scores.cache_info().hits
    assert int(row_of(viewer, "users on the list", budget="300")[0]) < before
    assert planner._scores.cache_info().hits > hits
    with connect() as connection:
        connection.execute("DELETE FROM churn_scores WHERE rank > 1")
        connection.execute("UPDATE churn_score_runs SET recorded_at = clock_timestamp()")
    assert row_of(viewer, "users on the list")[0] == "1"


@pytest.mark.parametrize("role", [Role.APPROVER, Role.ADMINISTRATOR])
def test_who_may_saves_a_campaign_and_it_is_written_down(
    settings: Settings, sign_in: Callable[..., Someone], role: Role
) -> None:
    put_planned()
    someone = sign_in(role, "eve")
    page = someone.get("/planner?budget=7000").text
    assert re.search(r'name="first_month" [^>]*value="2024-06"', page)
    hidden = re.search(r'<div id="plan-terms">(.*?)<p>', page, re.S)
    assert hidden is not None
    terms = dict(re.findall(r'name="(\w+)" value="([^"]+)"', hidden[1]))
    assert terms.keys() == set(TERMS)
    answer = someone.post("/planner/campaigns", form(**terms))
    assert answer.status_code == 303
    assert answer.headers["location"] == "/planner?month=2024-05#campaigns"
    with connect() as connection:
        (campaign,) = campaigns(connection)
        acts = connection.execute(
            "SELECT person, subject, detail FROM console.acts WHERE act = 'campaign saved'"
        ).fetchall()
    assert (campaign.month, campaign.actor, campaign.reason) == (JUNE, "eve", "more budget")
    assert campaign.terms.model_dump() == {**defaults(), "budget": 7_000}
    told = {"campaign_id": campaign.campaign_id, **campaign.terms.model_dump()}
    assert acts == [("eve", "2024-06", told)]
    shown = text(someone)
    assert "June 2024" in shown
    assert "more budget" in shown


@pytest.mark.parametrize("role", [Role.VIEWER, Role.CALLER])
def test_others_may_look_and_not_save(
    settings: Settings, sign_in: Callable[..., Someone], role: Role
) -> None:
    put_planned()
    someone = sign_in(role)
    assert "Save it as the campaign" not in someone.get("/planner").text
    assert someone.post("/planner/campaigns", form(budget="7000")).status_code == 403
    with connect() as connection:
        assert campaigns(connection) == []


def test_what_cannot_be_saved_is_told_and_nothing_is_written(
    settings: Settings, sign_in: Callable[..., Someone]
) -> None:
    put_planned()
    someone = sign_in(Role.APPROVER)
    refused = {
        "the list of 2024-05 is there already": {"first_month": "2024-05"},
        "is not a month": {"first_month": "June"},
        "a reason is needed": {"reason": " "},
        "a contact can never pay": {"customer_value": "5"},
        "budget": {"budget": "-1"},
    }
    for what, more in refused.items():
        answer = someone.post("/planner/campaigns", form(**more))
        assert answer.status_code == 422, what
        assert what in html.unescape(answer.text)
    with connect() as connection:
        assert campaigns(connection) == []
        acts = connection.execute("SELECT 1 FROM console.acts WHERE act = 'campaign saved'")
        assert acts.fetchall() == []


def test_a_list_names_its_campaign_and_is_planned_by_its_terms(
    settings: Settings, viewer: Someone
) -> None:
    campaign = saved(MAY, budget=250.0)
    listed = put_planned()
    saved(JUNE, budget=9_000.0)
    page = text(viewer)
    assert f"those of campaign {campaign.campaign_id}, which test saved" in page
    assert row_of(viewer, "users on the list") == [f"{len(listed)}"] * 2
    assert NOTHING not in row_of(viewer, "expected cost of those to be called, currency units")


def test_the_form_has_every_term() -> None:
    assert {name for name, _, _ in planner._INPUTS} == set(TERMS) == set(planner.Terms.model_fields)


def test_the_ticks_of_an_axis_are_round_and_few() -> None:
    assert ticks(0, 1_000) == [0, 200, 400, 600, 800, 1_000]
    assert ticks(-30, 70) == [-20, 0, 20, 40, 60]
    assert ticks(0, 1, least=1) == [0, 1]


def test_the_curve_begins_and_ends_within_its_plot() -> None:
    served = np.linspace(0.9, 0.01, 50)
    hashes = control_hashes(MAY, [f"{n}" for n in range(50)])
    planned = plan(MonthScores(served, None, hashes), Campaign(budget=100))
    curve = drawn(planned.curve(), planned.listed)
    places = [tuple(map(float, pair.split(","))) for pair in curve.line.split(" ")]
    assert places[0] == (curve.left, curve.zero)
    assert places[-1][0] == curve.right
    assert min(y for _, y in places) == curve.top
    assert max(y for _, y in places) <= curve.bottom
    assert (curve.cut, curve.cut_profit) in places
