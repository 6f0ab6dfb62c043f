import pytest
from fastapi.testclient import TestClient

from churn.contract.in_force import DEFAULT_SERVICE
from tests.kit.api_fakes import LEFT, NOBODY, PARTIAL, USER, MemoryReader


def test_a_user_of_the_newest_month(client: TestClient) -> None:
    answer = client.get(f"/features/{USER}")
    assert answer.status_code == 200
    body = answer.json()
    assert list(body["features"]) == ["user_id", *DEFAULT_SERVICE.feature_names]
    assert body["features"]["user_id"] == body["user_id"] == USER
    assert body["features"]["monthly_fee"] == 29.85
    assert body["features"]["months_active"] == 3
    assert body["features"]["paperless_billing"] is True
    assert body["features"]["plan_stream_tv"] is None
    assert (body["as_of"], body["current"]) == ("2024-02-29", True)
    assert (body["feature_service"], body["missing_views"]) == (DEFAULT_SERVICE.versioned_name, [])


def test_features_need_no_model(unready: TestClient) -> None:
    assert unready.get(f"/features/{USER}").status_code == 200


def test_an_unknown_user_is_404(client: TestClient) -> None:
    answer = client.get(f"/features/{NOBODY}")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "unknown_user"
    assert answer.json()["error"]["detail"] == {"user_id": NOBODY}


def test_who_has_left_is_shown_as_of_their_last_month(client: TestClient) -> None:
    body = client.get(f"/features/{LEFT}").json()
    assert (body["as_of"], body["current"]) == ("2024-01-31", False)


def test_views_without_a_row_are_named(client: TestClient) -> None:
    assert client.get(f"/features/{PARTIAL}").json()["missing_views"] == ["support_agg_90d_fv"]


def test_nothing_published_is_503(client: TestClient, reader: MemoryReader) -> None:
    reader.newest_as_of = None
    answer = client.get(f"/features/{USER}")
    assert answer.status_code == 503
    assert "no month has been published yet" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "user_id", ["%00", "a%00b", "a%0A", "x" * 256, "%20a", "a%C2%A0", "Jose%CC%81", "NULL"]
)
def test_what_cannot_be_a_user_id_is_refused(client: TestClient, user_id: str) -> None:
    answer = client.get(f"/features/{user_id}")
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "invalid_request"


@pytest.mark.parametrize("user_id", ["'; DROP TABLE x", "Zoë", "%25", "...", "a/b", "a%2Fb/"])
def test_odd_user_ids_are_unknown_users(client: TestClient, user_id: str) -> None:
    assert client.get(f"/features/{user_id}").json()["error"]["code"] == "unknown_user"


@pytest.mark.parametrize("path", ["/features", "/features/"])
def test_a_path_without_a_user_says_how_to_ask(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert "ask for /features/{user_id}" in answer.json()["error"]["message"]
