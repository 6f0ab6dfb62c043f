import pytest
from fastapi.testclient import TestClient
from pydantic import TypeAdapter

from api import schemas
from api.main import create_app
from api.schemas import EXPLANATION, FEATURES, PREDICTION, USER
from churn.contract.in_force import DEFAULT_SERVICE
from churn.scoring.reasons import Reason
from tests.kit.api_fakes import LEFT, NOBODY, PARTIAL

ROUTES = {
    "/health",
    "/health/live",
    "/health/ready",
    "/features/{user_id}",
    "/predict",
    "/predict/batch",
    "/explain",
    "/metrics",
}


@pytest.fixture(scope="module")
def schema() -> dict:
    return TestClient(create_app(), "http://localhost").get("/openapi.json").json()


def test_every_route_is_described(schema: dict) -> None:
    assert set(schema["paths"]) == ROUTES
    for path in schema["paths"].values():
        for operation in path.values():
            assert operation["description"]


def test_the_errors_of_each_route_are_declared(schema: dict) -> None:
    def errors(path: str, method: str) -> set[str]:
        return set(schema["paths"][path][method]["responses"]) - {"200", "500"}

    # What a key, a limit of rate and a limit of time bring, at every route that needs a key.
    door = {"401", "403", "429", "504"}
    assert errors("/features/{user_id}", "get") == {"404", "422", "503"} | door
    assert errors("/predict", "post") == {"400", "404", "409", "422", "503"} | door
    assert errors("/predict/batch", "post") == {"400", "422", "503"} | door
    assert errors("/explain", "post") == {"400", "404", "409", "422", "503"} | door
    assert "no_explainer" in schema["paths"]["/explain"]["post"]["responses"]["409"]["description"]
    assert errors("/health/ready", "get") == {"429", "503", "504"}
    text = str(schema)
    assert "HTTPValidationError" not in text  # the framework's own shape is never sent


def test_the_examples_are_valid_and_complete(schema: dict) -> None:
    exampled = set()
    for name, described in schema["components"]["schemas"].items():
        for example in described.get("examples", []):
            model = TypeAdapter(getattr(schemas, name))
            assert set(example) == set(described["properties"])
            read = model.validate_python(example)  # FastAPI leaves nulls out of the page
            assert model.dump_python(read, mode="json", exclude_none=True) == example
            exampled.add(name)
    assert exampled >= {
        "FeaturesAnswer", "Prediction", "Explanation", "BatchAnswer", "ErrorAnswer", "Health",
    }  # fmt: skip
    assert USER in str(schema["paths"]["/features/{user_id}"])


def test_the_bytes_are_those_that_the_described_model_writes(
    client: TestClient,
) -> None:
    users = [USER, LEFT, PARTIAL, NOBODY, 'quoted " \\ / Zoë']
    answers = [(schemas.FeaturesAnswer, client.get(f"/features/{user}")) for user in users[:3]]
    answers.append((schemas.Prediction, client.post("/predict", json={"user_id": USER})))
    answers.append((schemas.BatchAnswer, client.post("/predict/batch", json={"user_ids": users})))
    for model, answer in answers:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        described = TypeAdapter(model)
        read = described.validate_json(answer.content, strict=True)
        assert described.dump_json(read) == answer.content


def test_the_examples_name_the_contracts_features() -> None:
    assert list(FEATURES["features"]) == ["user_id", *DEFAULT_SERVICE.feature_names]
    assert list(PREDICTION["features_used"]) == DEFAULT_SERVICE.feature_names
    for reason in EXPLANATION["reasons"]:
        assert (
            Reason(
                reason["feature"], reason["value"], reason["usual"], reason["contribution"]
            ).words
            == (reason["words"])
        )
