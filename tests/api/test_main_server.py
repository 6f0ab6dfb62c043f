"""The API as its own process, with a real Postgres, Feast and MLflow that come, go and change."""

import os
import signal
import subprocess
from collections.abc import Iterator
from math import exp
from pathlib import Path

import httpx
import pandas as pd
import pytest

from churn.contract.in_force import DEFAULT_SERVICE, REGISTERED_MODEL
from churn.database.init import initialise
from churn.model.candidates import candidates, fit_challenger
from churn.model.encode import model_frame
from churn.model.kinds import LOGISTIC
from churn.model.tracking import log_model_run
from churn.model.train import Fitted, fit_baseline
from churn.online.publish import publish
from churn.settings import get_settings
from churn.stack.parts import http_command, make_plan
from churn.stack.postgres import EmbeddedPostgres
from churn.stack.processes import free_port
from churn.stack.record import StackRecord
from tests.kit.fitted_models import small_world
from tests.kit.snapshot_rows import FEBRUARY, JANUARY, MARCH, put_profile
from tests.kit.waiting import until


@pytest.fixture
def own_postgres(
    tmp_path: Path, no_champion: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[EmbeddedPostgres]:
    """A server that this test may stop; the environment names it and the MLflow server."""
    with EmbeddedPostgres(tmp_path / "postgres") as server:
        chosen = {**server.environment, "POSTGRES_DB": "postgres", "CHURN_HOME": str(tmp_path)}
        chosen |= {"MLFLOW_TRACKING_URI": no_champion, "MLFLOW_EXPERIMENT": "api-server"}
        for name, value in chosen.items():
            monkeypatch.setenv(name, value)
        get_settings.cache_clear()
        yield server
    get_settings.cache_clear()


@pytest.fixture
def api(own_postgres: EmbeddedPostgres, tmp_path: Path) -> Iterator[httpx.Client]:
    port = free_port()
    command = http_command("api.main:app", "127.0.0.1", port)
    told = {**os.environ, **make_plan(StackRecord()).parts["api"].environment}
    assert told["POSTGRES_USER"] == "churn_api"
    with (tmp_path / "api.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=told)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
            until(lambda: live(client))
            yield client
    finally:
        server.send_signal(signal.SIGTERM)
        code = server.wait(300)
    text = (tmp_path / "api.log").read_text()
    assert code in {0, -signal.SIGTERM}, text
    assert "Application shutdown complete" in text
    assert "Traceback" not in text.rpartition("Shutting down")[2]
    assert "/features" not in text  # who was asked about is nobody's business
    assert told["POSTGRES_PASSWORD"] not in text


def live(client: httpx.Client) -> bool:
    try:
        return client.get("/health/live").status_code == 200
    except httpx.ConnectError:
        return False


def is_ready(client: httpx.Client) -> bool:
    return client.get("/health/ready").status_code == 200


def predict(client: httpx.Client) -> httpx.Response:
    return client.post("/predict", json={"user_id": "a"})


def registered(fitted: Fitted, fingerprint: str) -> str:
    return log_model_run(fitted, month=JANUARY, fingerprint=fingerprint, lineage={}).version


def promote(version: str) -> None:
    from churn.mlflow_client import mlflow_client

    mlflow_client().set_registered_model_alias(REGISTERED_MODEL, "champion", version)


def expected(fitted: Fitted, features: dict) -> float:
    frame = model_frame(pd.DataFrame([features]), fitted.service)
    return float(fitted.pipeline.predict_proba(frame)[0, 1])


def serves(client: httpx.Client, version: str) -> bool:
    return client.get("/health").json()["model"]["version"] == version


def test_the_life_of_a_server(own_postgres: EmbeddedPostgres, api: httpx.Client) -> None:
    from churn.mlflow_client import ensure_registered_model, mlflow_client

    ensure_registered_model(mlflow_client(), REGISTERED_MODEL, "")
    assert api.get("/health/ready").status_code == 503  # nothing is there yet
    assert api.get("/features/a").status_code == 503
    until(lambda: "alias champion" in (api.get("/health").json()["model"]["problem"] or ""))

    initialise(["streamflow"])
    until(lambda: "published" in (api.get("/health").json()["store"]["problem"] or ""))
    put_profile(JANUARY, ["a", "gone"], monthly_fee=29.85, plan_stream_tv=None)
    put_profile(FEBRUARY, ["a"], monthly_fee=29.85, plan_stream_tv=None)
    publish(JANUARY)
    publish(FEBRUARY)
    assert api.get("/features/a").json()["features"]["monthly_fee"] == 29.85
    assert predict(api).status_code == 503

    first = fit_baseline(small_world(), DEFAULT_SERVICE, n_estimators=5)
    promote(one := registered(first, "one"))
    until(lambda: is_ready(api))  # without a restart
    body = predict(api).json()
    assert body["model_version"] == one
    assert body["as_of"] == "2024-02-29"
    assert body["probability"] == pytest.approx(expected(first, body["features_used"]), abs=1e-5)
    gone = api.post("/predict", json={"user_id": "gone"})
    assert (gone.status_code, gone.json()["error"]["detail"]["since"]) == (409, "2024-01-31")

    own_postgres.stop()
    until(lambda: not is_ready(api))
    assert predict(api).status_code == api.get("/features/a").status_code == 503
    assert api.get("/health/live").status_code == api.get("/health").status_code == 200
    own_postgres.start()
    until(lambda: is_ready(api))
    assert {predict(api).status_code for _ in range(20)} == {200}

    put_profile(MARCH, ["a"], monthly_fee=19.99)
    publish(MARCH)
    assert {predict(api).json()["as_of"] for _ in range(20)} == {"2024-03-31"}

    second = fit_baseline(small_world(seed=1), DEFAULT_SERVICE, n_estimators=5)
    promote(two := registered(second, "two"))
    until(lambda: serves(api, two))
    body = predict(api).json()
    assert body["model_version"] == two
    assert body["probability"] == pytest.approx(expected(second, body["features_used"]), abs=1e-5)

    assert api.post("/explain", json={"user_id": "a"}).json()["error"]["code"] == "no_explainer"
    logistic = next(each for each in candidates(second) if each.kind is LOGISTIC)
    promote(explained := registered(fit_challenger(logistic, second), "explained"))
    until(lambda: serves(api, explained))
    body = api.post("/explain", json={"user_id": "a", "top": len(DEFAULT_SERVICE.features)}).json()
    assert body["model_version"] == explained
    score = body["base"] + sum(reason["contribution"] for reason in body["reasons"])
    assert 1 / (1 + exp(-score)) == pytest.approx(predict(api).json()["probability"], abs=1e-4)

    promote(two)
    until(lambda: serves(api, two))
    false = registered(fit_baseline(small_world(seed=2), DEFAULT_SERVICE, n_estimators=5), "three")
    mlflow_client().set_model_version_tag(REGISTERED_MODEL, false, "onnx_sha256", "0" * 64)
    promote(false)
    until(lambda: "is refused: sha256" in (api.get("/health").json()["model"]["problem"] or ""))
    assert predict(api).json()["model_version"] == two
    assert is_ready(api)
    mlflow_client().delete_registered_model_alias(REGISTERED_MODEL, "champion")
