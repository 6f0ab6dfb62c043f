"""What the product promises, in a real browser on a real world: whom to call, why, and what it brought."""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from churn.contract.in_force import CONTRACT
from churn.database import connect
from churn.months import Month
from churn.population.drops import write_drops
from churn.population.scenario import Scenario, Treated
from churn.scoring.campaigns import SavedCampaign, campaigns, save_campaign
from churn.scoring.control_group import BANDS
from churn.settings import get_settings
from churn.stack.postgres import EmbeddedPostgres
from console.main import create_app
from console.people import make_link
from console.roles import Role
from tests.console.conftest import database_of
from tests.kit.browser import accessibility_problems, opened_page
from tests.kit.servers import served
from tests.kit.states import FEBRUARY, JANUARY, MARCH, State, forget_models, new_state, running_api

USERS = 900
EFFECT = -3.0  # on the log odds of leaving of each who is called


@dataclass
class World:
    """January to play from, February's list to call by, March to come."""

    state: State
    console: str
    folder: Path

    def play_march(self, called: frozenset[str]) -> None:
        """Let a month go by in which these were called: who left of February's users, and March."""
        drops = write_drops(
            self.folder / "later",
            first=JANUARY,
            users=USERS,
            months=3,
            scenario=Scenario(treated={1: Treated(called, EFFECT)}),
        )
        for drop in drops[1:]:
            self.state.deliver(drop)
        for job in (
            self.state.close(MARCH),
            self.state.train(FEBRUARY),
            self.state.score(MARCH),
        ):
            assert job.succeeded, job.failures


@pytest.fixture
def world(
    postgres: EmbeddedPostgres, mlflow_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    home = tmp_path_factory.mktemp("walk")
    drops = write_drops(home / "drops", first=JANUARY, users=USERS, months=2)
    state = new_state(postgres, home, mlflow_url, CHURN_CAMPAIGN_CONTROL_SHARE="0.3")
    with running_api(state), state.entered():
        forget_models()
        for drop in drops:
            state.deliver(drop)
        for job in (
            state.close(JANUARY),
            state.close(FEBRUARY),
            state.train(JANUARY),
            state.score(FEBRUARY),
        ):
            assert job.succeeded, job.failures
        with served(create_app(lambda: database_of(get_settings()))) as url:
            yield World(state, url, home)
        forget_models()


def listed(month: Month, group: str = "") -> list[str]:
    """Return the users of a month's list, the most probable leaver first."""
    with connect() as connection:
        rows = connection.execute(
            "SELECT user_id FROM retention.action_list WHERE month = %s AND treatment_group LIKE %s"
            " ORDER BY probability DESC, rank",
            [month.first_day, group or "%"],
        )
        return [row[0] for row in rows]


def signed_in(page: Page, world: World, role: Role = Role.CALLER) -> None:
    with connect() as connection:
        token = make_link(connection, "cara", role)
    page.goto(f"{world.console}/sign-in?token={token}")
    expect(page).not_to_have_url(re.compile("token"))
    clean(page)
    page.get_by_role("button", name="Sign in by the link").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()


def shown_users(page: Page) -> list[str]:
    return page.locator("tbody a[href^='/customer?']").all_inner_texts()


def clean(page: Page) -> None:
    assert accessibility_problems(page) == [], page.url


def test_somebody_finds_whom_to_call_reports_it_and_sees_what_it_brought(
    world: World, tmp_path: Path
) -> None:
    levels_are_those_of_the_segments()
    with opened_page() as page:
        signed_in(page, world)
        called = calls_by_the_list(page, tmp_path)
        sees_the_segments(page)
        sees_that_nothing_is_claimed_yet(page, world)
        campaign = plans_the_next_list(page, world)
    world.play_march(called)
    the_list_is_that_of_its_campaign(world, campaign)
    with opened_page() as page:
        signed_in(page, world)
        sees_what_it_brought(page, world, called)


def levels_are_those_of_the_segments() -> None:
    """Count the list by each user's levels, as the pages filter by, and hold it against the segments' own."""
    with connect() as connection:
        counted = connection.execute(
            "SELECT key, value, count(*) FROM retention.action_list, jsonb_each_text(segments)"
            " WHERE month = %s GROUP BY 1, 2",
            [FEBRUARY.first_day],
        ).fetchall()
        recorded = connection.execute(
            "SELECT segment, level, listed_users FROM retention.segment_month"
            " WHERE month = %s AND listed_users > 0",
            [FEBRUARY.first_day],
        ).fetchall()
    assert {segment for segment, _, _ in counted} == {each.name for each in CONTRACT.segments}
    assert sorted(counted) == sorted(recorded)


def calls_by_the_list(page: Page, folder: Path) -> frozenset[str]:
    """Find the ten most endangered customers, read why, export the list, report the calls."""
    page.get_by_role("link", name="Action list").click()
    expect(page.get_by_role("heading", name="Action list")).to_be_visible()
    assert shown_users(page)[:10] == listed(FEBRUARY)[:10]
    clean(page)
    page.get_by_text("Choose customers").click()
    page.get_by_label("Segment").select_option("contract_type=Month-to-month")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator("p.lead")).to_contain_text("of those you chose")
    clean(page)
    page.get_by_role("link", name="Action list").click()

    to_call = listed(FEBRUARY, "treated")
    page.get_by_role("link", name=to_call[0], exact=True).click()
    expect(page.get_by_role("heading", name=f"Customer {to_call[0]}")).to_be_visible()
    expect(page.locator("p.lead")).to_contain_text("A call should bring")
    expect(page.get_by_text("Each value is set beside the usual one")).to_be_visible()
    assert page.locator("section ol li").first.inner_text().endswith("raises the risk")
    assert page.get_by_role("region", name="Features").locator("tbody tr").count() > 10
    clean(page)
    supposes_other_values(page)
    page.get_by_role("link", name="Action list").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    exported = folder / download.value.suggested_filename
    download.value.save_as(exported)
    with exported.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["user_id"] for row in rows} == set(listed(FEBRUARY))

    # The first by keyboard alone, all others by the file that was exported.
    box = page.get_by_role("checkbox", name=f"{to_call[0]} was called")
    box.focus()
    page.keyboard.press("Space")
    expect(box).to_be_checked()
    page.get_by_label("Outcome").select_option("accepted")
    page.get_by_label("Called on").fill("2024-03-04")
    button = page.get_by_role("button", name="Report as called")
    button.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("1 new, 0 changed")
    clean(page)
    page.get_by_role("link", name="Go on with the list").click()
    expect(page.get_by_text("called on 4 Mar 2024 by phone: accepted")).to_be_visible()

    filled = folder / "filled.csv"
    with filled.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            is_called = row["treatment_group"] == "treated" and row["user_id"] != to_call[0]
            writer.writerow(
                row | {"treated_at": "2024-03-05", "channel": "mail"} if is_called else row
            )
    page.get_by_label("File of what was done").set_input_files(filled)
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("status")).to_contain_text(f"{len(to_call) - 1} new, 0 changed")
    return frozenset(to_call)


def supposes_other_values(page: Page) -> None:
    """Ask what the model would say of two years' contract and a lower fee, and go back."""
    page.get_by_text("Change values").click()
    page.locator("select[name='if.contract_type']").select_option("Two year")
    page.get_by_label("fee of the month").fill("20.05")
    clean(page)
    page.get_by_role("button", name="Ask the model").click()
    expect(page.get_by_role("status")).to_contain_text("of the model would say")
    supposed = page.get_by_role("region", name="What the model would say")
    expect(supposed.get_by_text("changed")).to_have_count(2)
    expect(page.get_by_text("What the model would say, not what would happen.")).to_be_visible()
    clean(page)
    page.get_by_role("button", name="Back to the customer's own values").click()
    expect(page.get_by_role("status")).to_have_count(0)


def sees_the_segments(page: Page) -> None:
    """Look at who is expected to leave by segment, and go from a group to its customers."""
    page.get_by_role("link", name="Segments").click()
    expect(page.get_by_role("heading", name="By segment")).to_be_visible()
    expect(page.get_by_text("There is no month before to compare with.")).to_be_visible()
    clean(page)
    row = page.get_by_role("row", name="Month-to-month")
    listed_users = row.locator("td").nth(8).inner_text()
    row.get_by_role("link").click()
    expect(page.locator("p.lead")).to_contain_text(f"{listed_users} customers of those you chose")


def sees_that_nothing_is_claimed_yet(page: Page, world: World) -> None:
    page.goto(f"{world.console}/impact")
    expect(page.get_by_text("Nothing is claimed yet")).to_be_visible()
    expect(page.get_by_text("they mature at 2024-03-31")).to_be_visible()
    clean(page)


def plans_the_next_list(page: Page, world: World) -> SavedCampaign:
    """See February's list planned again, try another control group, and save it from March on."""
    signed_in(page, world, Role.APPROVER)
    page.get_by_role("link", name="Planner").click()
    control = f"{len(listed(FEBRUARY, 'control'))}"
    left_alone = page.get_by_role("row", name="to be left alone").locator("td")
    assert left_alone.all_inner_texts() == [control, control]
    share = page.get_by_label("Left alone for comparison, share of the list")
    expect(page.get_by_role("slider", name="Left alone for comparison")).to_be_visible()
    share.fill("0.5")
    expect(left_alone.first).not_to_have_text(control)
    expect(page.locator("svg.curve")).to_be_visible()
    clean(page)
    page.get_by_label("Reason").fill("to know it sooner")
    page.get_by_role("button", name="Save the campaign").click()
    expect(page.get_by_role("cell", name="to know it sooner")).to_be_visible()
    with connect() as connection:
        (campaign,) = campaigns(connection)
    assert (campaign.month, campaign.terms.control_share) == (MARCH, 0.5)
    return campaign


def the_list_is_that_of_its_campaign(world: World, campaign: SavedCampaign) -> None:
    """March's list has the campaign's control group, also when it is made again after another was saved."""
    query = "SELECT campaign_id, list_hash, control_users FROM retention.month WHERE month = %s"

    def kept() -> tuple[int, str, int]:
        with connect() as connection:
            row = connection.execute(query, [MARCH.first_day]).fetchone()
        assert row is not None
        return row

    bands = np.array_split(listed(MARCH), BANDS)
    before = kept()
    assert before[0] == campaign.campaign_id
    assert before[2] == sum(round(0.5 * len(band)) for band in bands)
    with connect() as connection:
        # In January nobody could be scored, so it has no list that could keep its terms.
        save_campaign(
            connection, JANUARY, get_settings().campaign.model_dump(), reason="later", actor="cara"
        )
    assert world.state.score(MARCH).succeeded
    assert kept() == before


def sees_what_it_brought(page: Page, world: World, called: frozenset[str]) -> None:
    page.goto(f"{world.console}/impact")
    expect(page.get_by_text("The calls kept")).to_be_visible()
    row = page.get_by_role("row", name="February 2024")
    expect(row).to_contain_text(f"{len(called)}")
    expect(page.get_by_role("row", name="March 2024")).to_contain_text("Nothing is claimed")
    expect(page.get_by_role("heading", name="By segment")).to_be_visible()
    expect(page.get_by_role("region", name="contract_type").locator("tbody tr")).not_to_have_count(
        0
    )
    clean(page)
    page.goto(f"{world.console}/segments")
    expect(page.get_by_role("region", name="Changes since the month before")).to_be_visible()
    clean(page)
    one = min(called & set(listed(MARCH)))
    page.goto(f"{world.console}/customer?user={one}")
    expect(page.locator(".chart canvas")).to_be_visible()
    happened = page.get_by_role("row", name="February 2024").last
    expect(happened).to_contain_text("to be called")
    expect(happened).to_contain_text("stayed")
    clean(page)
    keyboard_reaches_the_content(page, world)


def keyboard_reaches_the_content(page: Page, world: World) -> None:
    page.goto(f"{world.console}/actions")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#content"
    page.keyboard.press("Tab")  # what is behind the menu comes next
    assert page.evaluate("document.activeElement.closest('main') !== null")
