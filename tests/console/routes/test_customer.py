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
ASKED: list[dict[str, Any]] = []  # what was to be supposed, of each question
EXPLANATION = {
    "user_id": "ann",
    "probability": 0.625,
    "own_probability": 0.625,
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
        ASKED.append(body["instead"])
        told["asked"] = body
        told["authorization"] = request.headers.get("authorization")
        if body["instead"] and told["supposed"]:
            return JSONResponse(*told["supposed"])
        if isinstance(told["answer"], str):
            return PlainTextResponse(told["answer"], told["status"])
        return JSONResponse(told["answer"], told["status"])

    with served(app) as url:
        monkeypatch.setenv("CHURN_API_URL", url)
        get_settings.cache_clear()

        def answer(body: Any, status: int = 200, supposed: Any = None) -> None:
            ASKED.clear()
            told.update(answer=body, status=status, supposed=supposed)

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
    ("answer", "status", "message"),
    [
        ({"error": {"code": "not_current", "message": "ann has left since May"}}, 409, "ann has left"),
        ({"error": {"code": "no_explainer", "message": "nothing does"}}, 409, "nothing does"),
        ("<html>", 502, "something else than"),
        ({"detail": "Not Found"}, 404, "something else than"),
        ([], 503, "something else than"),
    ],
)  # fmt: skip
def test_what_the_api_cannot_say_is_said_and_the_rest_is_shown(
    viewer: Someone, api: Callable[..., None], answer: Any, status: int, message: str
) -> None:
    api(answer, status)
    page = viewer.get("/customer?user=ann")
    assert page.status_code == 200
    assert message in page.text
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


def supposing(**values: str) -> dict[str, str]:
    return {"user": "ann", **{f"if.{name}": text for name, text in values.items()}}


@pytest.mark.usefixtures("months")
def test_values_are_supposed_and_the_answer_is_called_what_it_is(
    sign_in: Callable[..., Someone], api: Callable[..., None]
) -> None:
    changed = {"feature": "contract_type", "value": "Two year", "usual": "Month-to-month",
               "contribution": -0.9, "words": "w"}  # fmt: skip
    api(EXPLANATION, 200, ({**EXPLANATION, "probability": 0.113, "reasons": [changed]}, 200))
    values = {"contract_type": "Two year", "monthly_fee": "20.5", "paperless_billing": "no"}
    page = sign_in(Role.VIEWER, "vera").get("/customer", params=supposing(**values))
    assert page.status_code == 200
    text = " ".join(page.text.split())
    assert "What the model would say, not what would happen." in text
    assert "of the model would say 11.3 %, and says 62.5 % with the customer's own." in text
    assert "<strong>Two year</strong> <small>changed</small>" in text
    assert ASKED == [{}, {"contract_type": "Two year", "monthly_fee": 20.5}]
    assert '<option value="Two year" selected>' in text
    assert 'value="20.5"' in text
    assert 'max="100000"' in text
    assert 'href="/customer?user=ann#what-if"' in text
    with connect() as connection:
        [(detail,)] = connection.execute("SELECT detail FROM console.acts WHERE subject = 'ann'")
    assert detail == {"what_if": ["contract_type", "monthly_fee"]}


@pytest.mark.usefixtures("months")
def test_a_blank_is_unknown_and_what_is_not_changed_is_not_sent(
    viewer: Someone, api: Callable[..., None]
) -> None:
    api(EXPLANATION)
    own = {"contract_type": "Month-to-month", "paperless_billing": "no", "monthly_fee": ""}
    page = viewer.get("/customer", params=supposing(**own)).text
    assert ASKED == [{}]
    assert "would say" in page
    assert "With these values" not in page
    viewer.get("/customer", params=supposing(contract_type="", elsewhere="1"))
    assert ASKED[1:] == [{}, {"contract_type": None}]


@pytest.mark.usefixtures("months")
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (
            "contract_type",
            "<b>Weekly",
            "contract: choose one of Month-to-month, One year, Two year",
        ),
        ("paperless_billing", "perhaps", "choose one of yes, no"),
        ("monthly_fee", "many", "write a number"),
        ("monthly_fee", "nan", "write a number"),
    ],
)
def test_what_is_no_value_is_said_and_nobody_is_asked(
    viewer: Someone, api: Callable[..., None], name: str, value: str, said: str
) -> None:
    api(EXPLANATION)
    page = viewer.get("/customer", params=supposing(**{name: value})).text
    assert said in page
    assert "<b>" not in page
    assert ASKED == [{}]
    assert "<details open>" in page


@pytest.mark.usefixtures("months")
def test_what_the_contract_does_not_let_be_is_told_by_the_name_of_the_feature(
    viewer: Someone, api: Callable[..., None]
) -> None:
    faults = {"monthly_fee": "it is from 0 to 100,000"}
    error = {"code": "bad_value", "message": "x", "detail": {"faults": faults}}
    api(EXPLANATION, 200, ({"error": error}, 422))
    page = " ".join(viewer.get("/customer", params=supposing(monthly_fee="-3")).text.split())
    assert "not asked: fee of the month, in currency units: it is from 0 to 100,000." in page
    assert "4 Jun 2024, phone: declined" in page
