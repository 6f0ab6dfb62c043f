"""Getting in: a link works once, a password is tried so often, and a session ends."""

import datetime as dt
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import httpx
import psycopg
import pytest

from churn.database import connect
from churn.errors import ChurnError
from churn.settings import Settings, get_settings
from console import people
from console.access import FORM_FIELD, form_token, hashed
from console.main import create_app
from console.people import add_person, make_link, remove_person
from console.queries import Database
from console.roles import Role
from tests.console.conftest import Someone, cookie_of, database_of, use_link
from tests.kit.servers import served

PASSWORD = "correct horse battery"


@pytest.fixture
def ann(settings: Settings) -> str:
    """A caller who signs in with PASSWORD."""
    with connect() as connection:
        add_person(connection, "ann", Role.CALLER, PASSWORD, by="test")
    return "ann"


def rows(query: str) -> list[tuple[object, ...]]:
    with connect() as connection:
        return connection.execute(query).fetchall()  # type: ignore[arg-type]


def link_of(role: Role = Role.VIEWER, name: str = "ann") -> str:
    with connect() as connection:
        return make_link(connection, name, role)


def tried(browser: httpx.Client, person: str, password: str, to: str = "/data") -> httpx.Response:
    """Fill in the form and send it."""
    form = browser.get("/sign-in", params={"to": to})
    secret = browser.cookies[cookie_of(browser, "form")]
    assert form_token(secret) in form.text
    sent = {"person": person, "password": password, "to": to, FORM_FIELD: form_token(secret)}
    return browser.post("/sign-in", data=sent)


def test_a_link_signs_in_once(stranger: httpx.Client, console: str) -> None:
    token = link_of(Role.APPROVER)
    answer = use_link(stranger, token)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert "(approver)" in stranger.get("/").text
    with httpx.Client(base_url=console, timeout=60) as another:
        answer = use_link(another, token)
        assert answer.status_code == 403
        assert "was used before, or has expired" in answer.text
        assert cookie_of(another) not in another.cookies
    assert stranger.get("/").status_code == 200


def test_opening_a_link_uses_nothing_up_and_leaves_its_token_nowhere(
    stranger: httpx.Client, console: str
) -> None:
    token = link_of()
    for _ in range(3):  # what previews links comes first, without cookies of the browser's
        previewed = httpx.get(f"{console}/sign-in", params={"token": token}, timeout=60)
        assert previewed.headers["location"] == "/sign-in/link?to=%2F"
        assert token not in previewed.text
    opened = stranger.get("/sign-in", params={"token": token}, follow_redirects=True)
    assert token not in str(opened.url) + opened.text
    assert rows("SELECT used_at FROM console.links") == [(None,)]
    assert use_link(stranger, token).status_code == 303
    assert cookie_of(stranger, "link") not in stranger.cookies


@pytest.mark.parametrize("token", ["€", "ä", "a b", "a;b", "a\n", "a" * 101])
def test_what_can_be_no_token_is_answered_as_a_spent_one(
    stranger: httpx.Client, token: str
) -> None:
    answer = stranger.get("/sign-in", params={"token": token, "to": "/data"})
    assert answer.status_code == 403
    assert "was used before, or has expired" in answer.text
    assert cookie_of(stranger, "link") not in stranger.cookies


def test_the_page_of_a_link_leads_to_the_form_where_none_was_opened(
    stranger: httpx.Client,
) -> None:
    answer = stranger.get("/sign-in/link", params={"to": "/data"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?to=%2Fdata")
    stranger.get("/sign-in", params={"token": link_of()}, follow_redirects=True)
    assert stranger.post("/sign-in/link", data={FORM_FIELD: "0" * 64}).status_code == 403
    assert rows("SELECT used_at FROM console.links") == [(None,)]


def test_two_consoles_on_one_host_keep_their_sessions_apart(
    settings: Settings, console: str
) -> None:
    with (
        served(create_app(lambda: database_of(settings))) as other,
        httpx.Client(timeout=60) as browser,
    ):
        for url in (console, other):
            with httpx.Client(base_url=url, cookies=browser.cookies, timeout=60) as client:
                use_link(client, link_of())
                browser.cookies = client.cookies
        for url in (console, other):
            assert browser.get(f"{url}/data").status_code == 200


def test_a_session_lasts_as_long_as_its_cookie(stranger: httpx.Client, ann: str) -> None:
    use_link(stranger, link_of())
    tried(stranger, ann, PASSWORD)
    lasts = rows("SELECT expires_at - recorded_at FROM console.sessions")
    assert len(lasts) == 2
    for (each,) in lasts:
        assert abs(each - people.SESSION_TIME) < dt.timedelta(minutes=1)


def test_of_many_who_come_with_one_link_at_once_one_gets_in(console: str) -> None:
    token = link_of()

    def come(_: int) -> int:
        with httpx.Client(base_url=console, timeout=60) as browser:
            return use_link(browser, token).status_code

    with ThreadPoolExecutor(8) as pool:
        codes = sorted(pool.map(come, range(8)))
    assert codes == [303] + [403] * 7


def test_a_link_expires(stranger: httpx.Client) -> None:
    token = link_of()
    with connect() as connection:
        connection.execute("UPDATE console.links SET expires_at = clock_timestamp()")
    assert use_link(stranger, token).status_code == 403
    assert cookie_of(stranger) not in stranger.cookies


def test_nothing_that_is_kept_signs_in(stranger: httpx.Client) -> None:
    token = link_of()
    use_link(stranger, token)
    session = stranger.cookies[cookie_of(stranger)]
    kept = str(rows("SELECT l, s FROM console.links AS l, console.sessions AS s"))
    assert token not in kept
    assert session not in kept
    assert hashed(session) in kept
    stranger.cookies.set(cookie_of(stranger), hashed(session))
    stranger.cookies.delete(cookie_of(stranger), domain="127.0.0.1")
    assert stranger.get("/").status_code == 303


def test_the_cookie_is_the_browsers_alone(
    stranger: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = use_link(stranger, link_of())
    attributes = answer.headers["set-cookie"].lower().split("; ")
    assert {"httponly", "samesite=lax", "path=/"} < set(attributes)
    assert "secure" not in attributes
    monkeypatch.setenv("CHURN_CONSOLE_URL", "https://churn.example")
    get_settings.cache_clear()
    answer = stranger.get("/sign-in", params={"token": link_of()})
    assert "secure" in answer.headers["set-cookie"].lower().split("; ")


def test_a_password_signs_in_and_leads_on(stranger: httpx.Client, ann: str) -> None:
    answer = tried(stranger, ann, PASSWORD, to="/data?only=late")
    assert (answer.status_code, answer.headers["location"]) == (303, "/data?only=late")
    assert "(caller)" in stranger.get("/data?only=late").text


def test_nobody_is_led_to_another_server(stranger: httpx.Client, ann: str) -> None:
    evil = (
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "\\\\evil",
        "evil",
        "/\n/evil",
    )
    for to in evil:
        assert tried(stranger, ann, PASSWORD, to=to).headers["location"] == "/"
        answer = use_link(stranger, link_of(), to)
        assert answer.headers["location"] == "/"


def test_a_wrong_one_is_refused_in_the_same_words(stranger: httpx.Client, ann: str) -> None:
    wrong = [
        ("ann", PASSWORD + "!"),
        ("bob", PASSWORD),
        ("ann", ""),
        ("a\0nn", PASSWORD),
        ("é" * 500, "x"),
    ]
    for person, password in wrong:
        answer = tried(stranger, person, password)
        assert answer.status_code == 403, person
        assert "do not belong together" in answer.text
        assert cookie_of(stranger) not in stranger.cookies
    refused = rows("SELECT count(*) FROM console.acts WHERE act = 'sign-in refused'")
    assert refused == [(len(wrong),)]


def test_attempts_have_an_end_and_then_only_waiting_helps(
    stranger: httpx.Client, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(people.ATTEMPTS_OF_ONE):
        assert tried(stranger, ann, "a guess at it").status_code == 403
    answer = tried(stranger, ann, PASSWORD)
    assert answer.status_code == 429
    assert "Too many sign-ins were refused." in answer.text
    monkeypatch.setattr(people, "ATTEMPTS_TIME", dt.timedelta(0))
    assert tried(stranger, ann, PASSWORD).status_code == 303


def test_who_waits_to_sign_in_keeps_no_connection_from_others(
    stranger: httpx.Client, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people, "_PATIENCE_SECONDS", 0.1)
    taken = []
    own = Database.own

    def counted(database: Database) -> AbstractContextManager[psycopg.Connection]:
        taken.append(database)
        return own(database)

    monkeypatch.setattr(Database, "own", counted)
    with people.one_at_a_time():
        assert tried(stranger, ann, PASSWORD).status_code == 429
        assert taken == []
    assert tried(stranger, ann, PASSWORD).status_code == 303
    assert len(taken) == 1


def test_attempts_at_many_names_have_an_end_too(
    stranger: httpx.Client, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people, "ATTEMPTS_OF_ALL", 3)
    for name in ("b", "c", "d"):
        assert tried(stranger, name, "a guess at it").status_code == 403
    assert tried(stranger, ann, PASSWORD).status_code == 429


def test_signing_out_ends_the_session(sign_in: Callable[..., Someone]) -> None:
    someone = sign_in(Role.VIEWER)
    session = someone.client.cookies[cookie_of(someone.client)]
    answer = someone.post("/sign-out")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
    assert cookie_of(someone.client) not in someone.client.cookies
    someone.client.cookies.set(cookie_of(someone.client), session)
    assert someone.get("/").status_code == 303


def test_a_session_expires(viewer: Someone) -> None:
    assert viewer.get("/").status_code == 200
    with connect() as connection:
        connection.execute("UPDATE console.sessions SET expires_at = clock_timestamp()")
    assert viewer.get("/").status_code == 303


@pytest.fixture
def signed_in(stranger: httpx.Client, ann: str) -> httpx.Client:
    tried(stranger, ann, PASSWORD)
    assert "(caller)" in stranger.get("/").text
    return stranger


def test_who_is_removed_is_out_at_once(signed_in: httpx.Client) -> None:
    with connect() as connection:
        remove_person(connection, "ann", by="test")
    assert signed_in.get("/").status_code == 303
    assert tried(signed_in, "ann", PASSWORD).status_code == 403
    with connect() as connection, pytest.raises(ChurnError, match="nobody called ann"):
        remove_person(connection, "ann", by="test")


def test_another_role_counts_from_the_next_sign_in(signed_in: httpx.Client) -> None:
    with connect() as connection:
        add_person(connection, "ann", Role.VIEWER, PASSWORD, by="test")
    assert signed_in.get("/").status_code == 303
    tried(signed_in, "ann", PASSWORD)
    assert "(viewer)" in signed_in.get("/").text


@pytest.mark.parametrize(
    ("name", "password", "what"),
    [
        ("", PASSWORD, "is no name"),
        (" ann", PASSWORD, "is no name"),
        ("a\nb", PASSWORD, "is no name"),
        ("a" * 201, PASSWORD, "is no name"),
        ("ann", "too short", "too short"),
        ("ann", "x" * 1001, "too long"),
    ],
)
def test_a_person_needs_a_name_and_a_password(
    settings: Settings, name: str, password: str, what: str
) -> None:
    with connect() as connection, pytest.raises(ChurnError, match=what):
        add_person(connection, name, Role.VIEWER, password, by="test")
    assert rows("SELECT * FROM console.people") == []


def test_who_did_what_is_recorded(signed_in: httpx.Client) -> None:
    signed_in.post(
        "/sign-out", data={FORM_FIELD: form_token(signed_in.cookies[cookie_of(signed_in)])}
    )
    tried(signed_in, "ann", "a guess at it")
    assert rows("SELECT act, person, subject, detail FROM console.acts ORDER BY act_id") == [
        ("person added", "test", "ann", {"role": "caller"}),
        ("sign-in", "ann", "", {"by": "password"}),
        ("sign-out", "ann", "", {}),
        ("sign-in refused", "ann", "", {}),
    ]
