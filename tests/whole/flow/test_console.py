"""The console over a world that went through the graph: every page shows the figures of the views."""

import html
import re
from collections.abc import Iterator

import httpx
import pytest

from churn.database import connect
from churn.promotion.ledger import release_in_force
from churn.settings import get_settings
from console.main import create_app
from console.pages import count, day, money, month_name, number, percent
from console.people import make_link
from console.roles import Role
from tests.console.conftest import database_of, use_link
from tests.kit.servers import served
from tests.kit.states import FEBRUARY, JANUARY, MARCH
from tests.whole.flow.conftest import World

TAG = re.compile(r"<[^>]+>")


@pytest.fixture
def browser(world: World) -> Iterator[httpx.Client]:
    with connect() as connection:
        token = make_link(connection, "ann", Role.VIEWER)
    app = create_app(lambda: database_of(get_settings()))
    with served(app) as url, httpx.Client(base_url=url, timeout=60) as client:
        use_link(client, token)
        yield client


def read(browser: httpx.Client, path: str) -> str:
    """Return what a page says, without its tags, blanks as one."""
    answer = browser.get(path)
    assert answer.status_code == 200, answer.text
    return " ".join(html.unescape(TAG.sub(" ", answer.text)).split())


def view(query: str, *parameters: object) -> dict[str, object]:
    """Return one row of a view."""
    with connect() as connection:
        cursor = connection.execute(query, parameters)  # type: ignore[call-overload]
        rows = cursor.fetchall()
        assert len(rows) == 1
        return dict(zip([column.name for column in cursor.description], rows[0], strict=True))


def of_month(month: object) -> dict[str, object]:
    return view("SELECT * FROM retention.month WHERE month = %s", month)


def test_the_first_page_is_the_newest_scored_month_beside_the_one_before(
    browser: httpx.Client,
) -> None:
    text = read(browser, "/")
    march, february = of_month(MARCH.first_day), of_month(FEBRUARY.first_day)
    assert "March 2024" in text
    assert text == read(browser, "/?month=2024-03")
    bounds = f"{count(march['estimated_leavers_low'])} to {count(march['estimated_leavers_high'])}"
    leavers = count(march["estimated_leavers"])
    assert f"Of {count(march['users'])} users, about {leavers} ({bounds})" in text
    assert f"are expected to leave by {day(march['labels_due'])}" in text
    for each in (march, february):
        for written in (
            count(each["users"]),
            count(each["estimated_leavers"]),
            percent(each["estimated_leavers"] / each["users"]),
            money(each["value_at_risk"]),
            money(each["expected_profit"]),
            count(each["listed_users"]),
        ):
            assert written in text
    assert f"{count(march['treated_users'])} to be called" in text
    assert f"{count(march['control_users'])} to be left alone" in text
    assert "Who left after March 2024: the labels are due on 30 Apr 2024." in text
    release = release_in_force()
    assert f"version {release.version}" in text
    assert "Open alarms 0" in text


def test_a_month_whose_labels_came_says_who_left(browser: httpx.Client) -> None:
    february = of_month(FEBRUARY.first_day)
    text = read(browser, "/?month=2024-02")
    known, left = count(february["labelled_users"]), count(february["observed_leavers"])
    assert f"It is known by now of {known}, of whom {left} left." in text


def test_a_month_before_any_release_says_why_nobody_was_scored(browser: httpx.Client) -> None:
    text = read(browser, "/?month=2024-01")
    assert "Nobody was scored in January 2024: no release was in force." in text


def test_data_shows_every_file_that_came(browser: httpx.Client) -> None:
    text = read(browser, "/data")
    with connect() as connection:
        every = connection.execute("SELECT month, file, rows FROM retention.deliveries").fetchall()
    assert every
    for month, file, rows in every:
        assert f"{month_name(month)} {file} 1 {count(rows)}" in text
    assert "3 months are here, January 2024 to March 2024." in text
    assert "There is no such file." in read(browser, "/data?only=corrected")


@pytest.mark.parametrize(("metric", "judged_on"), [("auc", "hold-out"), ("churn_rate", "all")])
def test_trust_shows_what_was_estimated_and_what_came(
    browser: httpx.Client, metric: str, judged_on: str
) -> None:
    text = read(browser, f"/trust?metric={metric}&judged_on={judged_on}")

    def write(value: float) -> str:
        return number(value, 4) if metric == "auc" else percent(value)

    for month in (FEBRUARY, MARCH):
        row = view(
            "SELECT * FROM retention.performance WHERE month = %s AND metric = %s AND judged_on = %s",
            month.first_day, metric, judged_on,
        )  # fmt: skip
        bounds = f"({write(row['estimated_low'])} to {write(row['estimated_high'])})"
        assert f"{write(row['estimated'])} {bounds}" in text
        if row["realised"] is None:
            assert "labels awaited" in text
        else:
            bounds = f"({write(row['realised_low'])} to {write(row['realised_high'])})"
            assert f"{write(row['realised'])} {bounds}" in text


def test_trust_shows_the_decisions_and_leads_to_each_release(browser: httpx.Client) -> None:
    answer = browser.get("/trust")
    text = read(browser, "/trust")
    with connect() as connection:
        every = connection.execute(
            "SELECT seq, month, outcome, release_id, reasons FROM retention.decisions"
        ).fetchall()
    assert len(every) == 2
    for seq, month, outcome, release_id, reasons in every:
        assert f"{seq}. Labels of {month_name(month)}: {outcome}" in text
        assert all(reason in text for reason in reasons.split("; "))
        assert f'href="/trust/releases/{release_id}"' in answer.text
    page = read(browser, f"/trust/releases/{release_in_force().release_id}")
    assert "It is in force." in page
    assert "March 2024" in page
    assert f"It is version {release_in_force().version} in MLflow" in page


def test_the_chart_draws_the_figures_of_the_table(browser: httpx.Client) -> None:
    import json

    text = browser.get("/trust?metric=churn_rate&judged_on=all").text
    drawn = json.loads(html.unescape(re.search(r'data-chart="([^"]+)"', text)[1]))
    assert drawn["x"] == ["2024-02", "2024-03"]
    estimated, realised = drawn["series"]
    for at, month in enumerate((FEBRUARY, MARCH)):
        row = view(
            "SELECT * FROM retention.performance WHERE month = %s AND metric = 'churn_rate'"
            " AND judged_on = 'all'",
            month.first_day,
        )
        assert estimated["values"][at] == pytest.approx(100 * row["estimated"])
        assert estimated["low"][at] == pytest.approx(100 * row["estimated_low"])
        if row["realised"] is not None:
            assert realised["high"][at] == pytest.approx(100 * row["realised_high"])
    assert realised["values"][1] is None
    assert JANUARY.first_day.isoformat()[:7] not in drawn["x"]
