"""Planner: what a month's list would come to under other terms, and saving them as a campaign."""

import datetime as dt
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, StringConstraints

from churn.contract.in_force import CONTRACT
from churn.evaluation.money import Campaign
from churn.months import Month
from churn.scoring.campaigns import (
    ENDLESS,
    TERMS,
    campaign_of_month,
    campaigns,
    next_month,
    save_campaign,
    terms_of,
    with_terms,
)
from churn.scoring.plan import (
    SCORES,
    ListPlan,
    MonthScores,
    Point,
    ScoreColumns,
    month_scores,
    plan,
)
from churn.settings import CampaignSettings
from console.access import Approver, Viewer, database_of
from console.acts import Act, record
from console.curve import drawn, round_up
from console.listed import Amount
from console.months import MonthRow, choose
from console.pages import count, money, page, percent
from console.queries import Queries
from console.roles import Role

router = APIRouter()
PATH = "/planner"
_KEPT_MONTHS = 2  # of scores that a process keeps: 24 bytes for each user
_TABLE_ROWS = 10  # of the curve's points
_SLIDER_STEPS = 200
Words = Annotated[str, StringConstraints(strip_whitespace=True, max_length=2_000)]


class Terms(BaseModel):
    """The terms of a campaign, each as the settings call it; blank or left out: as it is for the month."""

    customer_value: Amount = None
    incentive_cost: Amount = None
    contact_cost: Amount = None
    accept_alpha: Amount = None
    accept_beta: Amount = None
    budget: Amount = None
    control_share: Amount = None

    def over(self, base: CampaignSettings) -> CampaignSettings:
        """Return the terms of a campaign where what is not said is as in another.

        Raises:
            ChurnError: one cannot be.
        """
        return with_terms(base, self.model_dump(include=set(TERMS), exclude_none=True))


class PlanQuery(Terms):
    """What the address of the page says."""

    month: Annotated[str, StringConstraints(max_length=20)] = ""


class CampaignForm(Terms):
    """What is sent to save a campaign.

    Attributes:
        month: the one that was shown, whose terms hold where the form says none.
        first_month: from which month's list on it holds.
    """

    month: Annotated[str, StringConstraints(max_length=20)]
    first_month: Annotated[str, StringConstraints(strip_whitespace=True, max_length=20)]
    reason: Words


@dataclass(frozen=True)
class TermInput:
    """One of the terms in the form: a number, and a slider for those with scripts.

    Args:
        least, most, step: of the slider; the number itself may lie beyond `most`.
    """

    name: str
    label: str
    unit: str
    value: float
    least: float
    most: float
    step: float


@dataclass(frozen=True)
class Figure:
    """A figure of the plan beside that of the list that ran."""

    name: str
    planned: str
    ran: str


@dataclass(frozen=True)
class PlanUnderRan:
    """What the terms that a list ran under come to now: the list itself, unless settings have changed."""

    listed: int
    expected_cost: float
    cut_off: float | None


_CURRENCY = "currency units"
_INPUTS = (
    ("budget", "Budget of the month", _CURRENCY),
    ("contact_cost", "Reaching one customer costs", _CURRENCY),
    ("incentive_cost", "The offer costs, when it is taken", _CURRENCY),
    ("customer_value", "A customer who is kept is worth", _CURRENCY),
    ("accept_alpha", "A leaver takes the offer: alpha", "of Beta(alpha, beta)"),
    ("accept_beta", "A leaver takes the offer: beta", "of Beta(alpha, beta)"),
    ("control_share", "Left alone for comparison", "share of the list, 0 to 1"),
)


@router.get(PATH)
def planner(request: Request, who: Viewer, asked: Annotated[PlanQuery, Query()]) -> Response:
    """Show what a month's list would come to under the terms that are asked for."""
    database = database_of(request)
    chosen = choose(database.queries, asked.month)
    now = chosen.now
    if now is None:
        return page(request, "nothing.html", who=who, title="Planner")
    month = Month(now.month)
    with database.own() as connection:
        ran_under = campaign_of_month(connection, month)
        saved = campaigns(connection)
        following = next_month(connection) or month.next
    base = terms_of(ran_under)
    terms = asked.over(base)
    scores = _scores(database.queries, month, now.scored_at) if now.is_scored else None
    shown: dict[str, Any] = {}
    if scores is None:
        planned = None
    else:
        planned = plan(scores, Campaign(**terms.model_dump()))
        ran = _under_ran(database.queries, month, now.scored_at, Campaign(**base.model_dump()))
        points = planned.curve()
        shown = {
            "words": " ".join(in_words(planned)),
            "figures": list(compared(planned, now, ran)),
            "curve": drawn(points, planned.listed),
            "points": _shown(points, planned),
        }
    return page(
        request,
        "planner.html",
        who=who,
        may_save=who.may(Role.APPROVER),
        now=now,
        months=[row.month for row in chosen.every],
        ran_under=ran_under,
        saved=saved,
        first_month=following,
        plan=planned,
        inputs=list(_inputs(terms, base, planned)),
        acceptance=terms.accept_alpha / (terms.accept_alpha + terms.accept_beta),
        own_value=CONTRACT.customer_value.column if CONTRACT.customer_value else "",
        **shown,
    )


@router.post(f"{PATH}/campaigns")
def save(request: Request, who: Approver, form: Annotated[CampaignForm, Form()]) -> Response:
    """Save the terms as the campaign from a month on."""
    shown, first = Month.parse(form.month), Month.parse(form.first_month)
    with database_of(request).own() as connection:
        terms = form.over(terms_of(campaign_of_month(connection, shown))).model_dump()
        campaign = save_campaign(connection, first, terms, reason=form.reason, actor=who.name)
        record(
            connection,
            Act.CAMPAIGN_SAVED,
            who.name,
            subject=str(first),
            campaign_id=campaign.campaign_id,
            **terms,
        )
    return RedirectResponse(f"{PATH}?month={shown}#campaigns", 303)


@functools.lru_cache(maxsize=_KEPT_MONTHS)
def _scores(queries: Queries, month: Month, scored_at: dt.datetime | None) -> MonthScores | None:
    """Return a month's scores; they are kept until it is scored again or others are asked for."""
    columns = queries.row(ScoreColumns, SCORES, {"as_of": month.as_of})
    return month_scores(month, columns) if columns else None


@functools.lru_cache(maxsize=_KEPT_MONTHS)
def _under_ran(
    queries: Queries, month: Month, scored_at: dt.datetime | None, campaign: Campaign
) -> PlanUnderRan | None:
    """Return what the terms that a month's list ran under come to now; kept as its scores are."""
    scores = _scores(queries, month, scored_at)
    if scores is None:
        return None
    under = plan(scores, campaign)
    return PlanUnderRan(under.listed, under.expected_cost, under.cut_off)


def in_words(planned: ListPlan) -> Iterator[str]:
    """Say in plain words what the list would come to."""
    users = len(planned.probabilities)
    if not planned.paying:
        yield f"Of {count(users)} customers, calling pays for nobody under these terms."
        return
    yield f"Of {count(users)} customers, calling pays for {count(planned.paying)}."
    if not planned.listed:
        yield "The budget reaches none of them."
        return
    yield (
        f"The list would have {count(planned.listed)}: {count(planned.treated)} to be called,"
        f" {count(planned.control)} to be left alone for comparison. Calling should bring"
        f" {money(planned.expected_profit)} currency units and cost {money(planned.expected_cost)}."
    )


def compared(planned: ListPlan, now: MonthRow, ran: PlanUnderRan | None) -> Iterator[Figure]:
    """Yield the plan's figures beside those of the list that ran."""
    # Settings that have changed since the list was made say nothing of what it cost.
    same = ran if ran and ran.listed == now.listed_users else None
    for name, here, there in (
        ("users on the list", planned.listed, now.listed_users),
        ("to be called", planned.treated, now.treated_users),
        ("to be left alone", planned.control, now.control_users),
    ):
        yield Figure(name, count(here), count(there))
    yield Figure(
        "expected profit of those to be called, currency units",
        money(planned.expected_profit),
        money(now.expected_profit),
    )
    yield Figure(
        "expected cost of those to be called, currency units",
        money(planned.expected_cost),
        money(same.expected_cost if same else None),
    )
    yield Figure(
        "cut-off: lowest risk on the list",
        percent(planned.cut_off),
        percent(same.cut_off if same else None),
    )


def _shown(points: list[Point], planned: ListPlan) -> list[tuple[Point, str]]:
    """Return the points of the table below the curve, each with what is special about it."""
    special = {
        planned.paying: "the last call that pays",
        planned.listed: "the end of the list",
    }
    every = max(1, len(points) // _TABLE_ROWS)
    return [
        (point, special.get(point.contacts, ""))
        for at, point in enumerate(points)
        if at % every == 0 or point.contacts in special
    ]


def _inputs(
    terms: CampaignSettings, base: CampaignSettings, planned: ListPlan | None
) -> Iterator[TermInput]:
    """Yield the inputs of the form, each with a range that has room on both sides."""
    for name, label, unit in _INPUTS:
        value, usual = getattr(terms, name), min(getattr(base, name), ENDLESS)
        most = max(3 * usual, value, 1.0)
        if name == "budget" and planned is not None and planned.paying:
            most = max(most, float(planned.in_order.spent[planned.paying - 1]))
        if name == "control_share":
            most = max(0.5, value)
        step = round_up(most / _SLIDER_STEPS)
        least = step if name in ("customer_value", "accept_alpha", "accept_beta") else 0.0
        yield TermInput(name, label, unit, value, least, most, step)
