"""A customer's page: what was said, done and seen; what the API says of now; and who looked."""

import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse

from churn.database import connect
from churn.settings import Settings, get_settings
from console.roles import Role
from tests.console.conftest import Someone
from tests.kit.console_lists import MAY, Row, put_labels, put_month
from tests.kit.servers import served

JUNE = MAY.next
EXPLANATION = {
    "user_id": "ann",
    "probability": 0.625,
    "score": 0.5,
    "base": -1.0,
    "unit": "log_odds",
    "reasons": [
        {"feature": "contract_type", "value": "Month-to-month", "usual": "Month-to-month",
         "contribution": 0.8, "words": "w1"},
        {"feature": "paperless_billing", "value": False, "usual": True, "contribution": -0.2, "words": "w2"},
        {"feature": "monthly_fee", "value": None, "usual": 70.15, "contribution": 0.0, "words": "w3"},
    ],
    "model_version": "7",
    "feature_service": "churn_rich_v1",
    "as_of": "2024-06-30",
}  # fmt: skip


@pytest.fixture
def months(settings: Settings) -> None:
    called = Row(
        "ann", 1, 0.81, treated_at=dt.date(2024, 6, 4), outcome="declined", reasons=("monthly_fee",)
    )
    put_month(MAY, [called, Row("bob", 2, 0.7, group="control")], unlisted=[Row("cy", 3, 0.1)])
    put_month(JUNE, [Row("bob", 1, 0.75)], unlisted=[Row("ann", 2, 0.64)])
    put_labels(MAY, ["bob"], ["ann", "cy"])


def seen() -> list[tuple[str, str]]:
    with connect() as connection:
        return connection.execute(
            "SELECT person, subject FROM console.acts WHERE act = 'customer seen' ORDER BY act_id"
        ).fetchall()


@pytest.fixture
def api(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[Any, int], None]]:
    """An API that answers as it is told."""
    told: dict[str, Any] = {}
    app = FastAPI()

    @app.post("/explain")
    def explain(body: dict[str, Any], request: Request) -> Any:
        told["asked"] = body
        told["authorization"] = request.headers.get("authorization")
        if isinstance(told["answer"], str):
            return PlainTextResponse(told["answer"], told["status"])
        return JSONResponse(told["answer"], told["status"])

    with served(app) as url:
        monkeypatch.setenv("CHURN_API_URL", url)
        get_settings.cache_clear()

        def answer(body: Any, status: int = 200) -> None:
            told.update(answer=body, status=status)

        answer.told = told  # type: ignore[attr-defined]
        yield answer


@pytest.mark.usefixtures("months")
def test_months_are_told_with_what_was_done_and_what_happened(
    sign_in: Callable[..., Someone], api: Callable[..., None]
) -> None:
    api(EXPLANATION)
    page = sign_in(Role.VIEWER, "vera").get("/customer?user=ann")
    assert page.status_code == 200
    text = " ".join(page.text.split())
    assert "In June 2024 the model put the risk" in text
    assert "64.0 %" in text
    assert "Not on the list." in text
    assert "4 Jun 2024, phone: declined" in text
    assert "<td>stayed</td>" in text
    assert "not known yet" in text
    assert "On the list of May 2024" in text
    assert "fee of the month" in text
    assert seen() == [("vera", "ann")]


@pytest.mark.usefixtures("months")
def test_the_api_is_asked_by_the_key_of_the_settings(
    viewer: Someone, api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    api(EXPLANATION)
    assert viewer.get("/customer?user=ann").status_code == 200
    assert api.told["authorization"] is None
    monkeypatch.setenv("CHURN_API_KEY", "of-the-platform-0123456789abcdef")
    get_settings.cache_clear()
    assert viewer.get("/customer?user=ann").status_code == 200
    assert api.told["authorization"] == "Bearer of-the-platform-0123456789abcdef"


@pytest.mark.usefixtures("months")
def test_features_stand_beside_what_is_usual_the_strongest_first(
    viewer: Someone, api: Callable[..., None]
) -> None:
    api(EXPLANATION)
    page = viewer.get("/customer?user=ann").text
    assert "62.5 %" in page
    assert "version 7" in page
    rows = page[page.index('aria-label="Features"') :].split("<tr>")[2:5]
    assert "<td>contract</td><td>Month-to-month</td><td>Month-to-month</td>" in rows[0]
    assert "raises it" in rows[0]
    assert "<td>no</td><td>yes</td>" in rows[1]
    assert "lowers it" in rows[1]
    assert "<td>unknown</td><td>70.15</td>" in rows[2]
    assert "none" in rows[2]


@pytest.mark.usefixtures("months")
@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        ({"error": {"code": "not_current", "message": "ann has left since May"}}, 409, "ann has left"),
        ({"error": {"code": "no_explainer", "message": "nothing does"}}, 409, "nothing does"),
        ("<html>", 502, "something else than"),
        ({"detail": "Not Found"}, 404, "something else than"),
        ([], 503, "something else than"),
    ],
)  # fmt: skip
def test_what_the_api_cannot_say_is_said_and_the_rest_is_shown(
    viewer: Someone, api: Callable[..., None], answer: Any, status: int, said: str
) -> None:
    api(answer, status)
    page = viewer.get("/customer?user=ann")
    assert page.status_code == 200
    assert said in page.text
    assert "4 Jun 2024, phone: declined" in page.text


@pytest.mark.usefixtures("months")
def test_a_page_is_shown_without_the_api(
    viewer: Someone, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHURN_API_URL", "http://127.0.0.1:9")
    get_settings.cache_clear()
    page = viewer.get("/customer?user=bob")
    assert page.status_code == 200
    assert "the API does not answer" in page.text
    assert "<td>left</td>" in page.text


@pytest.mark.usefixtures("months")
def test_nobody_is_found_where_there_is_nobody(viewer: Someone) -> None:
    for user in ("nobody", "AN", "ann' OR 'a'='a", "%"):
        answer = viewer.get("/customer", params={"user": user})
        assert answer.status_code == 404
        assert "was scored in any month" in answer.text
    assert "Enter the whole id" in viewer.get("/customer").text
    assert viewer.get("/customer?user=%00").status_code == 200
    assert seen() == []
