import pytest
from fastapi.testclient import TestClient

from churn.contract.in_force import BASELINE, DEFAULT_SERVICE
from tests.kit.api_fakes import LEFT, NOBODY, PARTIAL, USER, MemoryReader, MemoryRegistry, values_of
from tests.kit.waiting import until


def predict(client: TestClient, user_id: str = USER):
    return client.post("/predict", json={"user_id": user_id})


def promote(client: TestClient, registry: MemoryRegistry, *args, **kwargs) -> None:
    version = registry.promote(*args, **kwargs).version
    until(lambda: client.get("/health").json()["model"]["version"] == version)


def test_the_answer(client: TestClient) -> None:
    answer = predict(client)
    assert answer.status_code == 200
    assert answer.json() == {
        "user_id": USER,
        "prediction": 1,
        "probability": 0.75,
        "threshold": 0.5,
        "model_version": "1",
        "feature_service": DEFAULT_SERVICE.versioned_name,
        "as_of": "2024-02-29",
        "features_used": values_of(DEFAULT_SERVICE),
    }


@pytest.mark.parametrize(
    ("probability", "threshold", "prediction"), [(0.4, 0.5, 0), (0.5, 0.5, 1), (0.37, 0.37, 1)]
)
def test_the_threshold_is_the_versions(
    client: TestClient,
    registry: MemoryRegistry,
    probability: float,
    threshold: float,
    prediction: int,
) -> None:
    promote(client, registry, probability, threshold=threshold)
    body = predict(client).json()
    assert (body["probability"], body["threshold"]) == (probability, threshold)
    assert body["prediction"] == prediction


def test_the_models_own_service_decides_what_is_read(
    client: TestClient, registry: MemoryRegistry, reader: MemoryReader
) -> None:
    promote(client, registry, 0.25, BASELINE)
    body = predict(client).json()
    assert list(body["features_used"]) == BASELINE.feature_names
    assert body["feature_service"] == "churn_baseline_v1"
    assert (
        reader.reads[-2:][0] == ([USER], "churn_baseline") or reader.reads[-1][1] == BASELINE.name
    )


def test_an_unknown_user_is_404(client: TestClient) -> None:
    answer = predict(client, NOBODY)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_user")


def test_who_has_left_is_409_and_since_when(client: TestClient) -> None:
    answer = predict(client, LEFT)
    assert answer.status_code == 409
    error = answer.json()["error"]
    assert error["code"] == "not_current"
    assert "left since 2024-01-31" in error["message"]
    assert error["detail"]["since"] == error["detail"]["as_of"] == "2024-01-31"
    assert error["detail"]["newest_as_of"] == "2024-02-29"


def test_a_view_without_a_row_is_422_and_named(client: TestClient) -> None:
    answer = predict(client, PARTIAL)
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert error["code"] == "missing_features"
    assert error["detail"]["missing_views"] == ["support_agg_90d_fv"]
    assert error["detail"]["as_of"] == "2024-02-29"


def test_not_ready_is_503(unready: TestClient) -> None:
    answer = predict(unready)
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "not_ready"
    assert answer.json()["error"]["detail"]["part"] == "model"


def test_a_store_that_is_down_is_503(client: TestClient, reader: MemoryReader) -> None:
    reader.down = True
    answer = predict(client)
    assert (answer.status_code, answer.json()["error"]["detail"]["part"]) == (503, "store")


def test_a_batch_gives_each_user_the_status_of_their_own(
    client: TestClient, reader: MemoryReader
) -> None:
    reader.reads.clear()
    users = [USER, NOBODY, LEFT, PARTIAL, USER]
    answer = client.post("/predict/batch", json={"user_ids": users})
    assert answer.status_code == 200
    body = answer.json()
    assert body["model_version"] == "1"
    results = body["results"]
    assert [(r["user_id"], r["status"]) for r in results] == list(
        zip(users, [200, 404, 409, 422, 200], strict=True)
    )
    for item in results:
        alone = predict(client, item["user_id"])
        assert item["status"] == alone.status_code
        if alone.status_code == 200:
            assert (item["prediction"], item["error"]) == (alone.json(), None)
        else:
            assert (item["prediction"], item["error"]) == (None, alone.json()["error"])
    assert reader.reads[0] == (users, "churn_rich")


def test_a_batch_of_nobody_runs_no_model(client: TestClient) -> None:
    body = client.post("/predict/batch", json={"user_ids": [NOBODY]}).json()
    assert [r["status"] for r in body["results"]] == [404]


@pytest.mark.parametrize(("count", "status"), [(0, 422), (1, 200), (1000, 200), (1001, 422)])
def test_the_size_of_a_batch_is_limited(client: TestClient, count: int, status: int) -> None:
    answer = client.post("/predict/batch", json={"user_ids": [USER] * count})
    assert answer.status_code == status


def test_a_batch_without_a_model_is_503(unready: TestClient) -> None:
    answer = unready.post("/predict/batch", json={"user_ids": [USER]})
    assert answer.status_code == 503
