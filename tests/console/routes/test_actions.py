"""The action list: filters against brute force, pages without gaps or repeats, who may do what."""

import datetime as dt
import random
import re
from collections.abc import Callable
from urllib.parse import urlencode

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from churn.contract.in_force import VIEWS
from churn.database import connect
from churn.settings import Settings
from console.listed import STATES, ListQuery, ShownList, newest_listed
from console.queries import Database
from console.roles import Role
from tests.console.conftest import Someone, database_of
from tests.kit.console_lists import MAY, Row, put_labels, put_month

FEATURES = [feature.name for view in VIEWS for feature in view.features][:5]
LEVELS = {"contract_type": ("Month-to-month", "Two year"), "net_service": ("DSL", "No")}


def some_rows(count: int, seed: int = 1) -> list[Row]:
    """Rows in which every property comes up in every mixture, and values are often equal."""
    chance = random.Random(seed)  # noqa: S311
    rows = []
    for rank in range(1, count + 1):
        is_control = chance.random() < 0.2
        is_called = not is_control and chance.random() < 0.4
        rows.append(
            Row(
                user_id=f"{chance.choice('abAB')}{chance.choice('=-_%')}{rank}",
                rank=rank,
                probability=round(1 - chance.choice([rank / count / 2, 0.25, 0.5]), 3),
                value=chance.choice([100.0, 200.0, 350.5]),
                profit=round(chance.uniform(-1, 60), chance.choice([0, 2])),
                group="control" if is_control else "treated",
                band=min(5, 1 + 5 * (rank - 1) // count),
                reasons=tuple(chance.sample(FEATURES, chance.randrange(4))),
                segments={name: chance.choice(levels) for name, levels in LEVELS.items()},
                treated_at=dt.date(2024, 6, 1 + rank % 28) if is_called else None,
                outcome=chance.choice(["accepted", "declined", "not reached", None])
                if is_called
                else None,
            )
        )
    return rows


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return some_rows(230)


@pytest.fixture
def database(settings: Settings, rows: list[Row]):
    put_month(MAY, rows)
    users = [row.user_id for row in rows]
    put_labels(MAY, users[::3], users[1::3])
    opened = database_of(settings)
    opened.open()
    yield opened
    opened.close()


def expected(rows: list[Row], asked: ListQuery) -> set[str]:
    """Whom the filters let through, by hand."""
    users = [row.user_id for row in rows]
    left, stayed = set(users[::3]), set(users[1::3])
    states: dict[str, Callable[[Row], bool]] = {
        "open": lambda row: row.group == "treated" and row.treated_at is None,
        "called": lambda row: row.treated_at is not None,
        "left": lambda row: row.user_id in left,
        "stayed": lambda row: row.user_id in stayed,
    }

    def passes(row: Row) -> bool:
        segment, _, level = asked.segment.partition("=")
        conditions = [
            not asked.segment or row.segments.get(segment) == level,
            asked.band is None or row.band == asked.band,
            asked.risk_from is None or row.probability >= asked.risk_from / 100,
            asked.risk_to is None or row.probability <= asked.risk_to / 100,
            asked.value_from is None or row.value >= asked.value_from,
            asked.value_to is None or row.value <= asked.value_to,
            not asked.reason or asked.reason in row.reasons[: 1 if asked.first else 3],
            not asked.group or row.group == asked.group,
            row.user_id.startswith(asked.user),
        ]
        if asked.state in states:
            conditions.append(states[asked.state](row))
        elif asked.state:
            conditions.append(row.outcome == asked.state)
        return all(conditions)

    return {row.user_id for row in rows if passes(row)}


blank = st.just("")
ASKED = st.builds(
    ListQuery,
    segment=blank | st.sampled_from([f"{n}={v}" for n, levels in LEVELS.items() for v in levels]),
    band=st.none() | st.integers(1, 5),
    risk_from=st.none() | st.integers(40, 100).map(float),
    risk_to=st.none() | st.integers(40, 100).map(float),
    value_from=st.none() | st.sampled_from([100.0, 150.0, 350.5]),
    value_to=st.none() | st.sampled_from([100.0, 350.5]),
    reason=blank | st.sampled_from(FEATURES),
    first=st.sampled_from(["", "1"]),
    group=st.sampled_from(["", "treated", "control"]),
    state=blank | st.sampled_from(list(STATES)),
    user=st.sampled_from(["", "a", "A", "a=", "b%", "b_"]),
    sort=st.sampled_from(
        [f"{minus}{n}" for n in ("rank", "user", "risk", "value", "profit") for minus in ("", "-")]
    ),
)
property_test = hypothesis_settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60
)


@property_test
@given(asked=ASKED)
def test_filters_let_through_whom_they_should(
    database: Database, rows: list[Row], asked: ListQuery
) -> None:
    listed = ShownList(database.queries, MAY, asked)
    shown = list(listed.everything())
    wanted = expected(rows, asked)
    assert {row.user_id for row in shown} == wanted
    assert len(shown) == len(wanted)
    totals, by_user = listed.totals(), {row.user_id: row for row in rows}
    treated = [by_user[user] for user in wanted if by_user[user].group == "treated"]
    assert (totals.users, totals.to_call) == (len(wanted), len(treated))
    assert totals.called == sum(by_user[user].treated_at is not None for user in wanted)
    assert totals.expected_profit == pytest.approx(sum(row.profit for row in treated))


@property_test
@given(asked=ASKED, size=st.integers(1, 90))
def test_pages_have_no_gaps_and_no_repeats_either_way(
    database: Database, asked: ListQuery, size: int
) -> None:
    def page(**where: str):
        return ShownList(database.queries, MAY, asked.model_copy(update=where)).page(size)

    whole = [row.user_id for row in ShownList(database.queries, MAY, asked).everything()]
    pages = [page()]
    assert pages[0].before is None
    while after := pages[-1].after:
        pages.append(page(after=after))
    assert [row.user_id for each in pages for row in each.rows] == whole
    assert all(len(each.rows) == size for each in pages[:-1])
    back = [pages[-1]]
    while before := back[-1].before:
        back.append(page(before=before))
    back.reverse()
    assert [row.user_id for each in back for row in each.rows] == whole


def test_rows_are_sorted_as_asked(database: Database) -> None:
    for sort, value in {
        "rank": lambda row: row.rank,
        "risk": lambda row: -row.probability,
        "value": lambda row: -row.customer_value,
        "profit": lambda row: -row.expected_profit,
    }.items():
        for turned in (False, True):
            asked = ListQuery(sort=f"-{sort}" if turned else sort)
            keys = [value(row) for row in ShownList(database.queries, MAY, asked).everything()]
            assert keys == sorted(keys, reverse=turned)


def test_a_page_of_many_reads_few(settings: Settings) -> None:
    """Where a list is long, a later page costs no more than the first: rows are not counted off."""
    put_month(MAY, [Row(f"u{n:06d}", n, 0.5) for n in range(1, 20_001)])
    opened = database_of(settings)
    opened.open()
    try:
        seen: list[str] = []
        where: dict[str, str] = {}
        while True:
            page = ShownList(opened.queries, MAY, ListQuery(sort="risk", **where)).page(2_500)
            seen += [row.user_id for row in page.rows]
            if page.after is None:
                break
            where = {"after": page.after}
    finally:
        opened.close()
    # All have the same risk: the id alone tells the pages apart.
    assert seen == [f"u{n:06d}" for n in range(20_000, 0, -1)]


@pytest.fixture
def listed(settings: Settings, rows: list[Row]) -> None:
    put_month(MAY, rows)


@pytest.mark.usefixtures("listed")
def test_the_page_shows_whom_to_call_why_and_what_it_should_bring(
    viewer: Someone, rows: list[Row]
) -> None:
    page = viewer.get("/actions")
    assert page.status_code == 200
    assert "May 2024: 230 customers" in page.text
    shown = re.findall(r'href="/customer\?user=([^"]*)"', page.text)
    assert len(shown) == 50
    first = rows[0]
    assert f"{100 * first.probability:.1f} %" in page.text
    assert "to be called; called on" in page.text
    assert 'rel="next"' in page.text
    assert 'type="checkbox"' not in page.text  # a viewer reports nothing
    assert (
        viewer.get("/actions?month=2024-05&group=control").text.count("<td>to be left alone") > 20
    )
    nobody = viewer.get("/actions?user=nobody")
    assert "Nobody on the list of May 2024 is like that." in nobody.text


def test_before_the_first_list_the_page_says_so(viewer: Someone) -> None:
    assert "There is no action list yet" in viewer.get("/actions").text
    assert "no action list yet" in viewer.get("/impact").text


@pytest.mark.usefixtures("listed")
@pytest.mark.parametrize(
    "query",
    ["after=x", "after=WzEsImEiXQ", "after=WyJhIiwgImEiXQ==", "after=W0luZmluaXR5LCAieCJd",
     "before=eyJhIjogMX0=", "month=May", "risk_from=many", "risk_from=nan", "band=9999", "user=" + "a" * 600],
)  # fmt: skip
def test_an_address_that_was_changed_by_hand_is_told_and_nothing_breaks(
    viewer: Someone, query: str
) -> None:
    answer = viewer.get(f"/actions?{query}")
    assert answer.status_code == 422
    assert "Traceback" not in answer.text


@pytest.mark.usefixtures("listed")
@pytest.mark.parametrize(
    "query", ["user=%00", "segment=%00", "segment=a", "sort=drop+table", "state=%27", "reason=%25"]
)
def test_what_is_no_filter_lets_nobody_else_through(viewer: Someone, query: str) -> None:
    assert viewer.get(f"/actions?{query}").status_code == 200


def test_an_address_keeps_every_digit_of_a_filter() -> None:
    asked = ListQuery(value_from=1_000_001.25, risk_from=12.34567, risk_to=40)
    assert ListQuery(**asked.kept()) == asked


@pytest.mark.usefixtures("listed")
def test_what_is_filtered_is_kept_from_page_to_page(viewer: Someone, rows: list[Row]) -> None:
    fields = {"group": "treated", "risk_from": "40", "sort": "-profit"}
    wanted = expected(rows, ListQuery(**fields))
    address, seen = f"/actions?{urlencode(fields)}", []
    while address:
        page = viewer.get(address).text
        seen += re.findall(r'name="user" value="[^"]*"|href="/customer\?user=([^"]*)"', page)
        link = re.search(r'href="([^"]*)" rel="next"', page)
        address = link[1].replace("&amp;", "&") if link else ""
    assert len(seen) == len(wanted)


def test_a_viewer_takes_nothing_away_and_reports_nothing(
    viewer: Someone, settings: Settings
) -> None:
    for path in ("/actions/export.csv", "/actions/export.xlsx"):
        assert viewer.get(path).status_code == 403
    form = {"month": "2024-05", "user": "a", "treated_at": "2024-06-03", "channel": "phone"}
    assert viewer.post("/actions/calls", form).status_code == 403
    assert viewer.post("/actions/withdrawals", form).status_code == 403
    file = {"file": ("calls.csv", b"month,user_id,treated_at,channel\n")}
    assert viewer.post("/actions/file", files=file).status_code == 403
    with connect() as connection:
        assert connection.execute("SELECT count(*) FROM treatments").fetchone() == (0,)


def test_the_newest_month_with_a_list_is_shown_first(
    settings: Settings, sign_in: Callable[..., Someone]
) -> None:
    for month in (MAY, MAY.next):
        put_month(month, [Row(f"u-{month}", 1, 0.9)])
    someone = sign_in(Role.VIEWER)
    assert "u-2024-06" in someone.get("/actions").text
    assert "u-2024-05" in someone.get("/actions?month=2024-05").text
    opened = database_of(settings)
    opened.open()
    try:
        assert newest_listed(opened.queries, "") == (
            MAY.next,
            [MAY.next.first_day, MAY.first_day],
        )
    finally:
        opened.close()


def test_ids_and_reasons_are_shown_as_they_are_and_never_as_markup(
    settings: Settings, viewer: Someone
) -> None:
    evil = '"><script>alert(1)</script>'
    put_month(MAY, [Row(evil, 1, 0.9), Row("a/b c&d", 2, 0.8)])
    page = viewer.get("/actions").text
    assert "<script>alert" not in page
    assert "/customer?user=a/b%20c%26d" in page
    answer: httpx.Response = viewer.get("/customer", params={"user": "a/b c&d"})
    assert answer.status_code == 200
    assert "Customer a/b c&amp;d" in answer.text
