"""Sending a drop, and what the page Data says became of it."""

from collections.abc import Callable

import pytest

from churn.database import connect
from churn.deliveries.drop_outcomes import DropOutcome, keep_outcomes, outcomes_of
from churn.deliveries.drops_folder import take_in
from churn.settings import Settings
from console.roles import Role
from tests.console.conftest import Someone
from tests.kit.small_drop import FILES, NOW, leave

Files = list[tuple[str, tuple[str, str]]]


def files(**changed: str) -> Files:
    return [("files", (name, changed.get(name, text))) for name, text in FILES.items()]


@pytest.fixture
def admin(sign_in: Callable[..., Someone]) -> Someone:
    return sign_in(Role.ADMINISTRATOR)


def look(settings: Settings) -> None:
    """Look as the sensor does, at folders that nobody has touched for long."""
    for drop in settings.drops_folder.iterdir():
        leave(drop)
    keep_outcomes(outcomes_of(take_in(settings.drops_folder, {}, now=NOW, settings=settings)))


def test_a_drop_that_is_sent_is_taken_in_as_any_other(admin: Someone, settings: Settings) -> None:
    answer = admin.post("/data/drops", {"name": "month_000"}, files=files())
    assert (answer.status_code, answer.headers["location"]) == (303, "/data#sent")
    assert "It waits to be looked at" in admin.get("/data").text
    look(settings)
    text = admin.get("/data").text
    assert "month_000, sent by ann" in text
    assert "It was taken in." in text
    assert "1 months are here" in text
    look(settings)
    assert "It brought nothing that was not there already." in admin.get("/data").text
    with connect() as connection:
        acts = connection.execute(
            "SELECT person, subject, detail FROM console.acts WHERE act = 'drop sent'"
        ).fetchall()
    assert acts == [("ann", "month_000", {"files": len(FILES)})]


def test_a_drop_that_is_refused_is_shown_with_every_problem(
    admin: Someone, settings: Settings, viewer: Someone
) -> None:
    assert "None lately." in viewer.get("/data").text
    spoilt = files(**{"users.csv": FILES["users.csv"].replace("Male,True", "Male,yes")})
    admin.post("/data/drops", {"name": "month_000"}, files=spoilt)
    look(settings)
    for someone in (admin, viewer):
        text = someone.get("/data").text
        assert "refused</span>" in text
        assert "users.csv, row 3, column user_is_senior: &#39;yes&#39;" in text
    assert admin.post("/data/drops", {"name": "month_000"}, files=files()).status_code == 422
    sent = {"name": "month_000", "replace": "true"}
    assert admin.post("/data/drops", sent, files=files()).status_code == 303
    look(settings)
    assert "It was taken in." in admin.get("/data").text


def test_what_is_not_taken_is_not_recorded_as_sent(admin: Someone, settings: Settings) -> None:
    for name, sent in (("../month_000", files()), ("month_000", [("files", ("a.exe", "x"))])):
        answer = admin.post("/data/drops", {"name": name}, files=sent)
        assert answer.status_code == 422
    assert "is no file of a drop" in answer.text
    assert "Sent by" not in admin.get("/data").text
    with connect() as connection:
        assert not connection.execute("SELECT FROM console.acts WHERE act = 'drop sent'").fetchall()


def test_only_an_administrator_sends_drops(
    sign_in: Callable[..., Someone], settings: Settings
) -> None:
    someone = sign_in(Role.APPROVER)
    assert "Send the drop" not in someone.get("/data").text
    assert someone.post("/data/drops", {"name": "month_000"}, files=files()).status_code == 403
    assert not settings.drops_folder.exists()


def test_a_report_is_shown_as_text_and_the_newest_stay(admin: Someone) -> None:
    keep_outcomes([DropOutcome("month_0\0", "refused", "<script>\0\ud800")])
    assert "&lt;script&gt;?" in admin.get("/data").text
    keep_outcomes([])
