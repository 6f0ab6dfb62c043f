"""A plan against the list itself: the same users, the same control group, the same sums."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.rows import class_row

from churn.contract.structure import CustomerValue
from churn.database import connect
from churn.errors import ChurnError
from churn.evaluation.money import Campaign, expected_cost
from churn.months import Month
from churn.scoring import plan as module
from churn.scoring.control_group import control_group, control_hashes
from churn.scoring.plan import SCORES, MonthScores, ScoreColumns, month_scores, plan
from churn.scoring.scores import rank
from churn.settings import Settings, get_settings
from tests.kit.console_lists import MAY
from tests.kit.planned_months import put_planned

CHANCES = st.lists(st.sampled_from([n / 40 for n in range(41)]), min_size=1, max_size=80)
CAMPAIGNS = st.builds(
    Campaign,
    customer_value=st.floats(1, 500),
    incentive_cost=st.floats(0, 50),
    contact_cost=st.floats(0, 5),
    budget=st.floats(0, 600),
    control_share=st.floats(0, 0.9),
)


def ids(users: int) -> list[str]:
    return [f"user-{n:03}" for n in range(users)]


def stored(rows: pa.Table, *, with_values: bool = False) -> MonthScores:
    """Return scores as they are stored: in the order of rank."""
    return MonthScores(
        rows["probability"].to_numpy(),
        rows["customer_value"].to_numpy() if with_values else None,
        control_hashes(MAY, rows["user_id"].to_pylist()),
    )


@given(CHANCES, CAMPAIGNS, CAMPAIGNS, st.booleans(), st.integers(0, 9))
def test_a_plan_is_the_list_that_the_campaign_makes(
    chances: list[float], ran: Campaign, campaign: Campaign, has_values: bool, seed: int
) -> None:
    """Stored under one campaign, planned under another: what comes out is the other's own list."""
    served = np.array(chances, dtype=np.float32)
    # Values that no two users share, so that no two calls bring the same under one campaign only.
    values = np.random.default_rng(seed).uniform(20, 900, len(served)) if has_values else None
    users = pa.array(ids(len(served)))
    scores = stored(rank(MAY, "r", users, served, ran, values), with_values=has_values)
    own = rank(MAY, "r", users, served, campaign, values)
    due = own.filter(own["is_action"])
    alone = control_group(MAY, due["user_id"].to_pylist(), campaign.control_share)

    planned = plan(scores, campaign)
    assert planned.listed == len(due)
    by_rank = rank(MAY, "r", users, served, ran, values)["user_id"].to_pylist()
    assert [by_rank[row] for row in planned.rows] == due["user_id"].to_pylist()
    assert planned.is_control.tolist() == alone.tolist()
    assert (planned.treated, planned.control) == (int((~alone).sum()), int(alone.sum()))
    called = due.filter(pa.array(~alone))
    assert planned.expected_profit == pytest.approx(sum(called["expected_profit"].to_pylist()))
    costs = expected_cost(called["probability"].to_numpy(), campaign)
    assert planned.expected_cost == pytest.approx(costs.sum(), abs=1e-9)
    assert planned.cut_off == (min(due["probability"].to_pylist()) if len(due) else None)


@given(CHANCES, CAMPAIGNS)
def test_the_curve_says_what_the_first_so_many_come_to(
    chances: list[float], campaign: Campaign
) -> None:
    rows = rank(MAY, "r", pa.array(ids(len(chances))), np.array(chances), campaign)
    planned = plan(stored(rows), campaign)
    profits = rows["expected_profit"].to_numpy()
    costs = expected_cost(rows["probability"].to_numpy(), campaign)
    points = planned.curve(points=7)
    assert points[0].contacts == 0
    assert {planned.listed, planned.paying} <= {point.contacts for point in points}
    for point in points:
        assert point.profit == pytest.approx(profits[: point.contacts].sum(), abs=1e-9)
        assert point.cost == pytest.approx(costs[: point.contacts].sum(), abs=1e-9)
    highest = max(point.profit for point in points)
    at_the_last = next(point.profit for point in points if point.contacts == planned.paying)
    assert at_the_last == pytest.approx(highest)


def test_where_no_call_can_pay_the_plan_is_empty() -> None:
    campaign = Campaign(customer_value=5.0)
    rows = rank(MAY, "r", pa.array(ids(3)), np.array([0.1, 0.5, 0.9]), campaign)
    planned = plan(stored(rows), campaign)
    assert (planned.listed, planned.paying, planned.cut_off) == (0, 0, None)
    assert (planned.expected_profit, planned.expected_cost) == (0, 0)
    assert planned.curve()[-1].contacts == 3


def columns(month: Month) -> ScoreColumns:
    with connect() as connection, connection.cursor(row_factory=class_row(ScoreColumns)) as cursor:
        row = cursor.execute(SCORES, {"as_of": month.as_of}).fetchone()
    assert row is not None
    return row


def test_stored_scores_give_the_list_that_ran(settings: Settings) -> None:
    listed = put_planned()
    scores = month_scores(MAY, columns(MAY))
    assert scores is not None
    assert scores.values is None  # StreamFlow's contract says one value for all
    planned = plan(scores, Campaign.of(get_settings().campaign))
    assert planned.listed == len(listed) > 20
    assert [row.group == "control" for row in listed] == planned.is_control.tolist()
    treated = [row for row in listed if row.group == "treated"]
    assert planned.expected_profit == pytest.approx(sum(row.profit for row in treated))
    with connect() as connection:
        kept = connection.execute(
            "SELECT treated, control, expected_profit FROM action_lists"
        ).fetchone()
    assert kept == (planned.treated, planned.control, pytest.approx(planned.expected_profit))


def test_a_month_that_was_not_scored_has_no_scores(settings: Settings) -> None:
    assert month_scores(MAY, columns(MAY)) is None


def test_values_of_their_own_are_taken_where_the_contract_has_them(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_planned()
    worth = CustomerValue(column="monthly_fee", months=12)
    monkeypatch.setattr(module, "CONTRACT", replace(module.CONTRACT, customer_value=worth))
    scores = month_scores(MAY, columns(MAY))
    assert scores is not None
    assert scores.values is not None
    assert set(scores.values) == {200.0}
    with connect() as connection:
        connection.execute("UPDATE churn_scores SET customer_value = NULL WHERE rank = 1")
    with pytest.raises(ChurnError, match="before it was kept what each user is worth"):
        month_scores(MAY, columns(MAY))
