import pytest
from fastapi.testclient import TestClient

from tests.kit.api_errors import assert_shape
from tests.kit.api_fakes import LEFT, NOBODY, PARTIAL, USER, MemoryReader


def test_every_error_has_the_one_shape(client: TestClient) -> None:
    assert_shape(client.get(f"/features/{NOBODY}"), 404, "unknown_user")
    assert_shape(client.post("/predict", json={"user_id": LEFT}), 409, "not_current")
    assert_shape(client.post("/predict", json={"user_id": PARTIAL}), 422, "missing_features")
    assert_shape(client.get("/nowhere"), 404, "not_found")
    assert_shape(client.get("/features/"), 404, "not_found")
    assert_shape(client.get("/predict"), 405, "method_not_allowed")
    assert client.get("/predict").headers["allow"] == "POST"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"user_id": ""}',
        b'{"user_id": 7}',
        b'{"user_id": null}',
        b'{"user_id": "a\\u0000b"}',
        b'{"user_id": "\\ud800"}',
        b'{"user_id": "a", "colour": "red"}',
        b"\xff\xfe",
    ],
)
def test_a_request_that_is_not_one(client: TestClient, body: bytes) -> None:
    answer = client.post("/predict", content=body, headers={"content-type": "application/json"})
    assert_shape(answer, answer.status_code, answer.json()["error"]["code"])
    assert answer.status_code in {400, 422}


def test_the_first_problem_is_named_and_nothing_is_echoed(client: TestClient) -> None:
    answer = client.post("/predict", json={"user": "secret"})
    error = answer.json()["error"]
    assert error["message"] == "body.user_id: Field required"
    assert {problem["type"] for problem in error["detail"]} == {"missing", "extra_forbidden"}
    assert "secret" not in answer.text


def test_an_unexpected_error_is_a_500_that_tells_nothing(
    client: TestClient, reader: MemoryReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise ZeroDivisionError("postgresql://user:password@host")

    with monkeypatch.context() as patch:
        patch.setattr(reader, "read", fail)
        answer = client.get(f"/features/{USER}", headers={"X-Request-ID": "r-1"})
    assert_shape(answer, 500, "internal_error")
    assert answer.headers["x-request-id"] == answer.json()["error"]["detail"]["request_id"] == "r-1"
    assert "password" not in answer.text
    counted = 'api_requests_total{method="GET",route="/features/{user_id}",status="500"} 1.0'
    assert counted in client.get("/metrics").text
