import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from churn.contract.in_force import DEFAULT_SERVICE
from tests.kit.api_fakes import LEFT, NOBODY, USER, MemoryReader


def samples(client: TestClient) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = client.get("/metrics").text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(client: TestClient, name: str, **labels: str) -> float | None:
    return samples(client).get((name, frozenset(labels.items())))


def test_requests_are_counted_by_template(client: TestClient) -> None:
    for user in (USER, LEFT, NOBODY):
        client.get(f"/features/{user}")
    client.post("/predict", json={"user_id": LEFT})
    counts = {"route": "/features/{user_id}", "method": "GET"}
    assert value(client, "api_requests_total", **counts, status="200") == 2
    assert value(client, "api_requests_total", **counts, status="404") == 1
    assert value(client, "api_request_latency_seconds_count", **counts) == 3
    predicted = {"route": "/predict", "method": "POST", "status": "409"}
    assert value(client, "api_requests_total", **predicted) == 1


def test_no_label_ever_holds_a_user_or_a_path(client: TestClient) -> None:
    for path in (f"/features/{USER}", f"/features/{USER}/more", f"/{USER}", f"/predict/{NOBODY}"):
        client.get(path)
        client.request("BREW", path)
    text = client.get("/metrics").text
    assert USER not in text
    assert NOBODY not in text
    assert "BREW" not in text
    routes = {"/health", "/health/ready", "/features/{user_id}", "/metrics", "unmatched"}
    seen_routes = {
        dict(labels)["route"] for name, labels in samples(client) if name == "api_requests_total"
    }
    assert seen_routes <= routes


def test_what_is_served(client: TestClient, reader: MemoryReader) -> None:
    service = DEFAULT_SERVICE.versioned_name
    labels = {"version": "1", "service": service, "as_of": "2024-01-31"}
    assert value(client, "api_model_info", **labels) == 1
    last_microsecond = 1709251199.999999  # 2024-02-29T23:59:59.999999Z
    newest = value(client, "api_newest_as_of_timestamp_seconds")
    assert newest == pytest.approx(last_microsecond, abs=1e-6)
    assert value(client, "api_ready", part="store") == value(client, "api_ready", part="model") == 1
    reader.down = True
    assert value(client, "api_ready", part="store") == 0
    assert value(client, "api_newest_as_of_timestamp_seconds") is None


def test_without_a_model_none_is_named(unready: TestClient) -> None:
    assert value(unready, "api_ready", part="model") == 0
    assert not [name for name, _ in samples(unready) if name == "api_model_info"]
