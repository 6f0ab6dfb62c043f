"""Impact: the figures of the view, months added up, and a plain refusal where nothing can be claimed."""

import datetime as dt
import html
import re

import pytest

from churn.database import connect
from churn.months import Month
from churn.scoring.treatments import Treatment, report_treatments
from churn.scoring.uplift import Uplift, measure_uplift_by_segment, record_uplift
from churn.settings import Settings
from tests.console.conftest import Someone
from tests.kit.console_lists import MAY, Row, put_labels, put_month
from tests.kit.intervals import added_up

JUNE, JULY = MAY.next, MAY.shift(2)


def campaign(month: Month, *, control: int = 60, users: int = 300) -> tuple[list[str], list[str]]:
    """List users of whom every so many is left alone, and call all others; return both groups."""
    every = users // control if control else users + 1

    def level(number: int) -> dict[str, str]:
        return {"plan": "rare & small" if number > users - 30 else "usual"}

    day = month.next.first_day + dt.timedelta(days=3)
    rows = [
        Row(f"{month}-{n:03d}", n, 0.9 - n / 1000, group="control", band=1 + 5 * (n - 1) // users,
            segments=level(n))
        if control and n % every == 0
        else Row(f"{month}-{n:03d}", n, 0.9 - n / 1000, band=1 + 5 * (n - 1) // users, treated_at=day,
                 segments=level(n))
        for n in range(1, users + 1)
    ]  # fmt: skip
    put_month(month, rows)
    treated = [row.user_id for row in rows if row.group == "treated"]
    return treated, [row.user_id for row in rows if row.group == "control"]


def leave(month: Month, treated: list[str], control: list[str], *, of_treated: float) -> Uplift:
    """Let a share of the treated leave, and half of the others; measure it as the pipeline does."""
    cut, half = int(of_treated * len(treated)), len(control) // 2
    put_labels(month, treated[:cut] + control[:half], treated[cut:] + control[half:])
    uplift = record_uplift(month)
    assert isinstance(uplift, Uplift)
    return uplift


def text(someone: Someone) -> str:
    page = someone.get("/impact")
    assert page.status_code == 200
    return " ".join(page.text.split())


def test_a_month_is_shown_with_its_bounds(settings: Settings, viewer: Someone) -> None:
    uplift = leave(MAY, *campaign(MAY), of_treated=0.2)
    assert uplift.is_shown
    page = text(viewer)
    assert "The calls kept" in page
    assert f"{100 * uplift.uplift.estimate:,.1f} <small" in page
    assert f"({100 * uplift.uplift.low:,.1f} to {100 * uplift.uplift.high:,.1f})" in page
    assert f"({uplift.profit.low:,.0f} to {uplift.profit.high:,.0f})" in page
    assert f"{100 * uplift.churn_treated:,.1f} %" in page
    assert "Together" not in page  # one month is no sum


def test_calls_that_cannot_be_told_from_chance_are_not_praised(
    settings: Settings, viewer: Someone
) -> None:
    uplift = leave(MAY, *campaign(MAY), of_treated=0.48)
    assert not uplift.is_shown
    page = text(viewer)
    assert "not shown to have kept anybody" in page
    assert "The calls kept" not in page


def test_months_add_up(settings: Settings, viewer: Someone) -> None:
    uplifts = [
        leave(month, *campaign(month), of_treated=share)
        for month, share in ((MAY, 0.3), (JUNE, 0.25))
    ]
    page = text(viewer)
    total = added_up([each.saved_users for each in uplifts])
    assert f"in {len(uplifts)} months" in page
    assert page.count("data-chart") == 2
    assert f"({total.low:,.0f} to {total.high:,.0f})" in page
    profit = added_up([each.profit for each in uplifts])
    assert f"{profit.estimate:,.0f} <small" in page
    assert profit.low > sum(each.profit.low for each in uplifts)  # together they are surer


@pytest.mark.parametrize(
    ("control", "message"),
    [(0, "no control group was left alone"), (10, "10 users in the control group are too few")],
)
def test_without_anybody_to_compare_with_nothing_is_claimed(
    settings: Settings, viewer: Someone, control: int, message: str
) -> None:
    treated, alone = campaign(MAY, control=control)
    put_labels(MAY, alone, treated)
    record_uplift(MAY)
    page = text(viewer)
    assert "Nothing is claimed yet" in page
    assert message in page
    assert "data-chart" not in page


def test_a_month_waits_for_its_labels_and_the_others_stand(
    settings: Settings, viewer: Someone
) -> None:
    leave(MAY, *campaign(MAY), of_treated=0.2)
    campaign(JUNE)
    record_uplift(JUNE)
    campaign(JULY)  # not measured at all yet
    page = text(viewer)
    assert "The calls kept" in page
    assert "they mature at 2024-07-31" in page
    assert "they mature at 2024-08-31" in page


def test_reports_that_came_after_it_was_measured_are_named(
    settings: Settings, viewer: Someone
) -> None:
    treated, control = campaign(MAY)
    leave(MAY, treated, control, of_treated=0.2)
    assert "The reports have changed" not in text(viewer)
    report_treatments(MAY, [Treatment(control[0], dt.date(2024, 6, 9), "phone")], actor="ann")
    assert "The reports have changed since it was measured" in text(viewer)
    record_uplift(MAY)
    assert "The reports have changed" not in text(viewer)
    # A report in the place of another: there are as many as before.
    report_treatments(MAY, [Treatment(control[0], dt.date(2024, 6, 9), "mail")], actor="ann")
    assert "The reports have changed since it was measured" in text(viewer)
    record_uplift(MAY)
    page = text(viewer)
    assert "The reports have changed" not in page
    assert "1 who were to be left alone were called all the same" in page


def test_a_list_nobody_reported_on_claims_nothing(settings: Settings, viewer: Someone) -> None:
    treated, control = campaign(MAY)
    with connect() as connection:
        connection.execute("TRUNCATE treatments, treatment_months")
    put_labels(MAY, control, treated)
    record_uplift(MAY)
    assert "no treatment was reported" in text(viewer)


def test_a_month_is_told_by_segment_and_small_groups_are_refused(
    settings: Settings, viewer: Someone
) -> None:
    leave(MAY, *campaign(MAY), of_treated=0.2)
    usual = measure_uplift_by_segment(MAY)["plan", "usual"]
    assert isinstance(usual, Uplift)
    page = text(viewer)
    part = page[page.index('id="by-segment"') :]
    assert "There are 2 of them" in part
    assert f"({100 * usual.uplift.low:,.1f} to {100 * usual.uplift.high:,.1f})" in part
    assert "Nothing is claimed: 6 users in the control group are too few" in part
    [way] = re.findall(r'href="(/actions\?[^"]*rare[^"]*)"', part)
    shown = viewer.get(html.unescape(way)).text
    assert "30 customers of those you chose" in " ".join(shown.split())


def test_another_month_is_told_by_segment_where_it_is_asked_for(
    settings: Settings, viewer: Someone
) -> None:
    assert "By segment" not in text(viewer)
    leave(MAY, *campaign(MAY), of_treated=0.2)
    leave(JUNE, *campaign(JUNE), of_treated=0.3)
    chosen = '<option value="2024-0{}" selected>'
    assert chosen.format(6) in text(viewer)
    page = viewer.get("/impact?month=2024-05")
    assert chosen.format(5) in page.text
    for month in ("2024-07", "May"):
        assert viewer.get(f"/impact?month={month}").status_code == 404
