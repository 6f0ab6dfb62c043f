"""Segments: the view's figures, changes that are claimed or not, and the way to the action list."""

import datetime as dt
import html
import re
from collections.abc import Callable, Mapping

import pytest

from churn.contract.in_force import CONTRACT
from churn.database import connect
from churn.monitoring.segments import SegmentLeavers
from churn.monitoring.store import keep_segments
from churn.months import Month
from churn.promotion.ledger import keep_release
from churn.settings import Settings
from console.roles import Role
from tests.console.conftest import Someone
from tests.kit.console_lists import MAY, Row, put_month
from tests.kit.releases import release

JUNE = MAY.next
SEGMENT = CONTRACT.segments[0].name
ONE, TWO = {SEGMENT: "monthly"}, {SEGMENT: "two & more"}


def put_levels(
    month: Month, rates: Mapping[str, float], *, users: int = 1_000, of: str = "one",
    left: Mapping[str, int] | None = None,
) -> None:  # fmt: skip
    """Keep the figures of a month's levels, of which so many users are each."""
    served = release(of)
    with connect() as connection:
        keep_release(connection, served)
    keep_segments(
        month,
        served.release_id,
        [
            SegmentLeavers(
                SEGMENT, level, users, rate * users, 200 * rate * users, 2, 30.0,
                users if left else 0, left[level] if left else None,
            )
            for level, rate in rates.items()
        ],
    )  # fmt: skip


@pytest.fixture
def listed(settings: Settings) -> None:
    rows = [
        Row("ann", 1, 0.9, reasons=("monthly_fee", "contract_type"), segments=ONE, profit=30),
        Row("bob", 2, 0.8, reasons=("monthly_fee",), segments=TWO, group="control", profit=20),
        Row("cy", 3, 0.7, reasons=("contract_type", "monthly_fee"), segments=TWO),
        Row("di", 4, 0.6, segments=ONE),
    ]
    put_month(MAY, [Row("ann", 1, 0.9)])
    put_month(JUNE, rows)


def text(someone: Someone, path: str = "/segments") -> str:
    page = someone.get(path)
    assert page.status_code == 200
    return " ".join(page.text.split())


@pytest.mark.usefixtures("listed")
def test_levels_are_told_as_the_view_has_them(viewer: Someone) -> None:
    put_levels(JUNE, {"monthly": 0.3, "two & more": 0.1}, left={"monthly": 280, "two & more": 110})
    page = text(viewer)
    assert "June 2024</option>" in page
    assert '<td class="n">1,000</td> <td class="n">300</td>' in page
    assert "30.0 % <span" in page
    assert '<td class="n">1.50</td> <td class="n">280</td>' in page
    assert "(25.3 % to 30.9 %)" in page
    assert '<td class="n">60,000</td> <td class="n">2</td> <td class="n">0.2 %</td>' in page
    assert "two &amp; more" in page
    assert "There is no month before to compare with." in page


@pytest.mark.usefixtures("listed")
def test_each_group_and_reason_leads_to_its_users_and_no_others(viewer: Someone) -> None:
    put_levels(JUNE, {"monthly": 0.3, "two & more": 0.1})
    page = viewer.get("/segments").text
    ways = {
        re.sub("<.*?>", "", name): html.unescape(href)
        for href, name in re.findall(r'<a href="(/actions\?[^"]*)">(.*?)</a>', page)
    }
    expected = {
        "monthly": ["ann", "di"],
        "two &amp; more": ["bob", "cy"],
        "fee of the month, in currency units": ["ann", "bob"],
        "contract": ["cy"],
    }
    assert ways.keys() == expected.keys()
    for name, users in expected.items():
        shown = viewer.get(ways[name]).text
        assert re.findall(r'href="/customer\?user=(\w+)"', shown) == users
    assert "nothing in particular" in page


@pytest.mark.usefixtures("listed")
def test_reasons_are_counted_by_the_first(viewer: Someone) -> None:
    page = text(viewer)
    assert "There are no figures by segment of June 2024" in page
    row = page[page.index("fee of the month") :]
    assert row.index('<td class="n">2</td> <td class="n">1</td> <td class="n">50.0 %</td>') < 80
    assert '<td class="n">50</td>' in row


@pytest.mark.usefixtures("listed")
def test_a_change_is_claimed_where_the_bounds_lie_apart(viewer: Someone) -> None:
    put_levels(MAY, {"monthly": 0.2, "two & more": 0.2, "same": 0.2})
    put_levels(JUNE, {"monthly": 0.3, "two & more": 0.1, "same": 0.21, "new": 0.5})
    page = text(viewer)
    assert f"it got worse for 1 group: {SEGMENT} monthly (+10.0 points expected)." in page
    changes = page[page.index("What rose most") :]
    assert changes.index("worse") < changes.index("bounds of the two months overlap")
    assert changes.index("overlap") < changes.index("better")
    assert ">new<" not in changes
    assert "-10.0" in changes


@pytest.mark.usefixtures("listed")
@pytest.mark.parametrize(
    ("before", "said"),
    [
        ({"users": 49}, "fewer than 50 users in one of the two months"),
        ({"of": "two"}, "another release scored the month before"),
    ],
)
def test_no_change_is_claimed_of_a_few_or_of_two_models(
    viewer: Someone, before: dict[str, object], said: str
) -> None:
    put_levels(MAY, {"monthly": 0.1}, **before)  # type: ignore[arg-type]
    put_levels(JUNE, {"monthly": 0.9})
    page = text(viewer)
    assert f"No change is claimed: {said}." in page
    assert "No group is shown to be worse off" in page


@pytest.mark.usefixtures("listed")
def test_who_really_left_counts_whichever_release_scored(viewer: Someone) -> None:
    put_levels(MAY, {"monthly": 0.2}, of="two", left={"monthly": 200})
    put_levels(JUNE, {"monthly": 0.2}, left={"monthly": 300})
    assert "(+10.0 points observed)" in text(viewer)


def test_a_month_is_chosen_and_where_there_is_nothing_it_is_said(
    settings: Settings, sign_in: Callable[..., Someone]
) -> None:
    viewer = sign_in(Role.VIEWER)
    assert "No drop was accepted yet" in text(viewer)
    put_month(MAY, [Row("ann", 1, 0.9, treated_at=dt.date(2024, 6, 3))])
    put_levels(MAY, {"monthly": 0.3})
    assert "May 2024" in text(viewer, "/segments?month=2024-05")
    assert viewer.get("/segments?month=2024-09").status_code == 404
    assert viewer.get("/segments?month=x").status_code == 404
