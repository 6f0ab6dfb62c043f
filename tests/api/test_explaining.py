import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from math import log
from typing import Any

import pytest
from fastapi.testclient import TestClient
from scipy.special import expit

from churn.contract.in_force import DEFAULT_SERVICE
from churn.model.fitted import Fitted, explainer_of, to_onnx
from churn.model.kinds import KINDS
from tests.kit.api_fakes import LEFT, NOBODY, PARTIAL, USER, MemoryRegistry, values_of
from tests.kit.fitted_models import small_challengers
from tests.kit.waiting import until

NAMES = [kind.name for kind in KINDS]
ALL = len(DEFAULT_SERVICE.features)
SUPPOSED: dict[str, Any] = {
    "contract_type": "Two year",
    "monthly_fee": 99.5,
    "paperless_billing": None,
}


@pytest.fixture(scope="module")
def challengers() -> dict[str, Fitted]:
    return small_challengers()


def serve(client: TestClient, registry: MemoryRegistry, fitted: Fitted) -> str:
    explainer = explainer_of(fitted).write()
    version = registry.register(to_onnx(fitted), DEFAULT_SERVICE, explainer=explainer)
    until(lambda: client.get("/health").json()["model"]["version"] == version.version)
    return version.version


def explain(client: TestClient, user_id: str = USER, **more: Any):
    return client.post("/explain", json={"user_id": user_id, **more})


@pytest.mark.parametrize("kind", NAMES)
def test_all_contributions_add_up_to_the_probability_that_predict_answers(
    kind: str,
    client: TestClient,
    registry: MemoryRegistry,
    challengers: dict[str, Fitted],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A score is a float32: an outlier would leave its last digits no room.
    usual = {"total_paid": 29.85}
    monkeypatch.setattr("tests.kit.api_fakes.values_of", lambda service: values_of(service) | usual)
    version = serve(client, registry, challengers[kind])
    answer = explain(client, top=ALL)
    assert answer.status_code == 200
    body = answer.json()
    reasons = body["reasons"]
    assert {r["feature"] for r in reasons} == set(DEFAULT_SERVICE.feature_names)
    score = body["base"] + sum(r["contribution"] for r in reasons)
    assert score == pytest.approx(body["score"], abs=1e-4)
    predicted = client.post("/predict", json={"user_id": USER}).json()
    calibration = challengers[kind].calibration
    assert calibration
    if kind == "shallow forest":
        assert body["unit"] == "share_of_votes"
        score = calibration.slope * log(score / (1 - score)) + calibration.intercept
    else:
        assert body["unit"] == "log_odds"
    assert expit(score) == pytest.approx(predicted["probability"], abs=1e-4)
    same = ("user_id", "probability", "model_version", "feature_service", "as_of")
    assert {name: body[name] for name in same} == {name: predicted[name] for name in same}
    assert body["model_version"] == version
    sizes = [abs(r["contribution"]) for r in reasons]
    assert sizes == sorted(sizes, reverse=True)


def test_three_reasons_with_the_users_own_values_and_words(
    client: TestClient, registry: MemoryRegistry, challengers: dict[str, Fitted]
) -> None:
    serve(client, registry, challengers["logistic"])
    reasons = explain(client).json()["reasons"]
    assert len(reasons) == 3
    everything = explain(client, top=ALL).json()["reasons"]
    assert everything[:3] == reasons
    used = values_of(DEFAULT_SERVICE)
    for reason in everything:
        assert reason["value"] == used[reason["feature"]]
        assert type(reason["value"]) is type(used[reason["feature"]])
        raises = reason["contribution"] > 0
        assert reason["words"].endswith("raises the risk" if raises else "lowers the risk")
    by_name = {reason["feature"]: reason for reason in everything}
    assert isinstance(by_name["months_active"]["usual"], int)
    assert by_name["add_on_support"]["usual"] in (True, False)
    assert by_name["add_on_backup"]["usual"] is None  # nobody's value was known


def test_a_model_without_an_explainer_says_so(client: TestClient) -> None:
    answer = explain(client)
    assert answer.status_code == 409
    error = answer.json()["error"]
    assert (error["code"], error["detail"]) == ("no_explainer", {"model_version": "1"})
    assert "version 1 carries no explainer" in error["message"]


@pytest.mark.parametrize(
    ("user", "status", "code"),
    [(NOBODY, 404, "unknown_user"), (LEFT, 409, "not_current"), (PARTIAL, 422, "missing_features")],
)
def test_who_cannot_be_predicted_cannot_be_explained(
    client: TestClient,
    registry: MemoryRegistry,
    challengers: dict[str, Fitted],
    user: str,
    status: int,
    code: str,
) -> None:
    serve(client, registry, challengers["logistic"])
    answer = explain(client, user)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize("top", [0, ALL + 1, "many"])
def test_the_number_of_reasons_is_limited(client: TestClient, top: Any) -> None:
    assert explain(client, top=top).status_code == 422


def test_before_the_first_model_it_is_503(unready: TestClient) -> None:
    assert explain(unready).status_code == 503


def test_an_explainer_that_is_not_the_registered_one_refuses_the_version(
    client: TestClient, registry: MemoryRegistry, challengers: dict[str, Fitted]
) -> None:
    fitted = challengers["logistic"]
    registry.register(
        to_onnx(fitted),
        DEFAULT_SERVICE,
        explainer=explainer_of(fitted).write(),
        explainer_sha256="0" * 64,
    )
    until(lambda: client.get("/health").json()["model"]["problem"] is not None)
    model = client.get("/health").json()["model"]
    assert "version 2 is refused: sha256 of explainer.npz" in model["problem"]
    assert model["version"] == "1"


def test_no_answer_mixes_a_model_with_anothers_explainer(
    client: TestClient, registry: MemoryRegistry, challengers: dict[str, Fitted]
) -> None:
    stop = threading.Event()
    serve(client, registry, challengers["logistic"])

    def ask() -> set[tuple[int, str, str, float, float]]:
        seen = set()
        while not stop.is_set():
            answer = explain(client)
            body = answer.json()
            seen.add(
                (
                    answer.status_code,
                    body["model_version"],
                    body["unit"],
                    body["base"],
                    body["probability"],
                )
            )
        return seen

    with ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(ask) for _ in range(3)]
        try:
            kinds = {serve(client, registry, challengers[kind]): kind for kind in [*NAMES, *NAMES]}
        finally:
            stop.set()
        seen = set().union(*(future.result() for future in asking))
    assert {status for status, *_ in seen} == {200}
    kinds["2"] = "logistic"
    by_kind: dict[str, set[tuple[str, float, float]]] = {}
    for _, version, *answered in seen:
        by_kind.setdefault(kinds[version], set()).add(tuple(answered))
    assert all(len(answered) == 1 for answered in by_kind.values()), by_kind
    assert len(by_kind) > 1


def test_the_start_of_the_api_imports_nothing_that_explains() -> None:
    script = "import sys, api.main; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert not {"sklearn", "churn.scoring.reasons"} & set(done.stdout.split())


@pytest.mark.parametrize(
    "outlier", [{"total_paid": 2388000.55}, {"monthly_fee": 65536.01}, {"skips_7d": 2**31 - 1}]
)
def test_a_user_far_beyond_all_others_is_answered_like_anybody(
    outlier: dict[str, Any],
    client: TestClient,
    registry: MemoryRegistry,
    challengers: dict[str, Fitted],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    serve(client, registry, challengers["logistic"])
    told = {"total_paid": 29.85, **outlier}
    monkeypatch.setattr("tests.kit.api_fakes.values_of", lambda service: values_of(service) | told)
    predicted, explained = client.post("/predict", json={"user_id": USER}), explain(client)
    assert (predicted.status_code, explained.status_code) == (200, 200)
    assert predicted.json()["features_used"] | outlier == predicted.json()["features_used"]
    assert 0 <= predicted.json()["probability"] <= 1
    assert explained.json()["probability"] == predicted.json()["probability"]
    [(name, value)] = outlier.items()
    assert (explained.json()["reasons"][0]["feature"], explained.json()["reasons"][0]["value"]) == (
        name,
        value,
    )


def test_the_model_answers_as_if_the_values_were_the_users(
    client: TestClient,
    registry: MemoryRegistry,
    challengers: dict[str, Fitted],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    serve(client, registry, challengers["logistic"])
    usual = {"total_paid": 29.85}  # an outlier would settle the answer by itself
    monkeypatch.setattr("tests.kit.api_fakes.values_of", lambda service: values_of(service) | usual)
    own, supposed = (
        explain(client, top=ALL).json(),
        explain(client, top=ALL, instead=SUPPOSED).json(),
    )
    assert own["own_probability"] == own["probability"] == supposed["own_probability"]
    assert supposed["probability"] != own["probability"]
    values = {each["feature"]: each["value"] for each in supposed["reasons"]}
    assert {name: values[name] for name in SUPPOSED} == SUPPOSED
    monkeypatch.setattr(
        "tests.kit.api_fakes.values_of", lambda service: values_of(service) | usual | SUPPOSED
    )
    really = client.post("/predict", json={"user_id": USER}).json()
    assert supposed["probability"] == really["probability"]
    assert explain(client, top=ALL).json()["reasons"] == supposed["reasons"]


def test_what_no_file_could_deliver_is_refused_with_its_reason(
    client: TestClient, registry: MemoryRegistry, challengers: dict[str, Fitted]
) -> None:
    serve(client, registry, challengers["logistic"])
    answer = explain(client, instead={"monthly_fee": -1, "months_active": 1201, "nobody": 1})
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert error["code"] == "bad_value"
    assert error["detail"]["faults"].keys() == {"monthly_fee", "months_active", "nobody"}
    assert "months_active: it is from 0 to 1,200" in error["message"]
    assert explain(client, instead={"monthly_fee": [1]}).status_code == 422
    assert explain(client, instead={str(n): n for n in range(ALL + 1)}).status_code == 422
