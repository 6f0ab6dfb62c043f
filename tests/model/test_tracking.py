import dataclasses
import hashlib
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow as mlflow_package
import mlflow.sklearn
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from churn.contract.in_force import BASELINE, DEFAULT_SERVICE
from churn.errors import ChurnError
from churn.mlflow_client import mlflow_client
from churn.model import tracking
from churn.model.encode import FeatureSchema, onnx_inputs
from churn.model.fitted import Fitted
from churn.model.onnx import DifferentModel, open_session, score
from churn.model.packing import TRUSTED_TYPES
from churn.model.tracking import TrackedModel, log_model, log_model_run, refuse, register
from churn.model.train import fit_baseline
from churn.months import Month
from churn.settings import get_settings

JANUARY = Month.parse("2024-01")
_NUMBERS = itertools.count()

Log = Callable[..., TrackedModel]


@pytest.fixture
def client(mlflow: str) -> MlflowClient:
    return mlflow_client()


@pytest.fixture
def log(client: MlflowClient, fitted: Fitted) -> Log:
    """Log the small model, as data that no other test has seen."""
    known: dict[str, Any] = {
        "fitted": fitted,
        "month": JANUARY,
        "fingerprint": f"{os.getpid()}-{next(_NUMBERS)}",
        "lineage": {"deliveries": [{"file": "users", "sha256": "ab12"}]},
    }
    return lambda **changes: log_model_run(**{**known, **changes})


def runs_of(client: MlflowClient, fingerprint: str) -> list[Any]:
    """The runs on these data; other tests may have made experiments on the server before."""
    experiment = client.get_experiment_by_name("streamflow")
    assert experiment is not None
    return list(
        client.search_runs([experiment.experiment_id], f"params.fingerprint = '{fingerprint}'")
    )


def test_the_run_says_it_all(log: Log, client: MlflowClient, fitted: Fitted) -> None:
    parent = client.create_run("0").info.run_id
    tracked = log(parent_run_id=parent, tags={"dagster_run_id": "d-1", "asset": "churn_model"})
    run = client.get_run(tracked.run_id)
    assert (run.info.run_name, run.info.status) == ("rf_baseline_2024-01-31", "FINISHED")
    assert client.get_experiment(run.info.experiment_id).name == "streamflow"
    assert run.data.params == {
        "as_of": "2024-01-31",
        "model_type": "RandomForestClassifier",
        "rows": "300",
        "months": "1",
        "training_rows": str(fitted.training_rows),
        "holdout_rows": str(fitted.holdout_rows),
        "holdout_share": "0.25",
        "n_estimators": "20",
        "random_state": "42",
        "threshold": "0.5",
        "service": DEFAULT_SERVICE.recorded_name,
        "feature_service": DEFAULT_SERVICE.versioned_name,
        "fingerprint": tracked.tags["fingerprint"],
    }
    assert run.data.metrics.items() >= fitted.metrics.items()
    assert run.data.metrics["train_time_sec"] == fitted.train_time_sec
    assert run.data.metrics["onnx_max_difference"] <= 1e-5
    tags = {
        "mlflow.parentRunId": parent,
        "service": DEFAULT_SERVICE.recorded_name,
        "month": "2024-01",
    }
    assert (
        run.data.tags.items() >= {**tags, "dagster_run_id": "d-1", "asset": "churn_model"}.items()
    )
    assert mlflow_package.active_run() is None


def test_a_model_that_is_refused_is_not_registered(
    log: Log, client: MlflowClient, fitted: Fitted
) -> None:
    known: dict[str, Any] = {
        "month": JANUARY,
        "fingerprint": f"refused-{os.getpid()}",
        "lineage": {},
    }
    registered = f"name = 'streamflow_churn' and tags.fingerprint = '{known['fingerprint']}'"
    refused = log_model(fitted, **known)
    assert client.get_run(refused.run_id).info.status == "FINISHED"
    refuse(refused)
    assert client.get_run(refused.run_id).info.status == "FAILED"
    assert list(client.search_model_versions(registered)) == []
    logged = log_model(fitted, **known)
    assert list(client.search_model_versions(registered)) == []  # until it is judged
    version = register(logged).version
    equal = log_model(fitted, **known)
    refuse(equal)
    assert register(equal).version == version
    assert client.get_run(logged.run_id).info.status == "FINISHED"


def test_the_artefacts(log: Log, client: MlflowClient, tmp_path: Path, world: pd.DataFrame) -> None:
    tracked = log()
    folder = Path(client.download_artifacts(tracked.run_id, "", str(tmp_path)))
    schema = json.loads((folder / "feature_schema.json").read_text())
    assert schema["categorical_cols"] == DEFAULT_SERVICE.categorical_cols
    assert schema["numeric_cols"] == DEFAULT_SERVICE.numeric_cols
    assert FeatureSchema(**schema) == FeatureSchema.of(DEFAULT_SERVICE)
    lineage = json.loads((folder / "lineage.json").read_text())
    assert lineage["deliveries"][0]["sha256"] == "ab12"
    assert (folder / "plots/model_report.png").read_bytes() == tracked.report_png
    onnx = (folder / tracked.tags["onnx_path"]).read_bytes()
    assert hashlib.sha256(onnx).hexdigest() == tracked.tags["onnx_sha256"]
    assert score(open_session(onnx), onnx_inputs(world, DEFAULT_SERVICE)).shape == (300,)


def test_the_version_leads_to_the_pipeline(log: Log, client: MlflowClient, fitted: Fitted) -> None:
    tracked = log(tags={"dagster_run_id": "d-2"})
    version = client.get_model_version("streamflow_churn", tracked.version)
    assert version.run_id == tracked.run_id
    assert version.status == "READY"
    assert not tracked.reused
    kept = {"month": "2024-01", "as_of": "2024-01-31", "service": DEFAULT_SERVICE.recorded_name}
    assert version.tags.items() >= {**kept, "threshold": "0.5", "dagster_run_id": "d-2"}.items()
    assert "scikit-learn==" in version.tags["libraries"]

    uri = f"models:/streamflow_churn/{tracked.version}"
    loaded = mlflow.sklearn.load_model(uri)
    probabilities = loaded.predict_proba(fitted.holdout)[:, 1]
    assert probabilities.tobytes() == fitted.probabilities.tobytes()
    model = mlflow_package.models.get_model_info(uri)
    assert model.signature.inputs.input_names() == DEFAULT_SERVICE.feature_names
    assert model.flavors["sklearn"]["skops_trusted_types"] == TRUSTED_TYPES
    scored = mlflow_package.pyfunc.load_model(uri).predict(fitted.holdout)
    np.testing.assert_array_equal(scored[:, 1], fitted.probabilities)


def test_the_same_model_is_one_version(log: Log, client: MlflowClient, world: pd.DataFrame) -> None:
    first = log()
    again = log(fitted=fit_baseline(world[::-1], DEFAULT_SERVICE, n_estimators=20))
    assert (again.version, again.run_id, again.reused) == (first.version, first.run_id, True)
    assert again.report_png == first.report_png
    assert again.onnx_max_difference == first.onnx_max_difference <= 1e-5
    assert len(runs_of(client, first.tags["fingerprint"])) == 1


def test_another_month_service_fit_or_data_is_another_version(
    log: Log, world: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracked = [
        log(),
        log(month=JANUARY.next),
        log(fitted=fit_baseline(world, BASELINE, n_estimators=20)),
        log(fitted=fit_baseline(world, DEFAULT_SERVICE, n_estimators=19)),
        log(fingerprint="other data"),
        log(tags={"as_known": "2024-05-01", "dagster_run_id": ""}),
    ]
    monkeypatch.setattr(tracking, "requirements", lambda: ["scikit-learn==1.10"])
    tracked.append(log())
    assert len({each.version for each in tracked}) == 7
    assert [each.tags.get("as_known") for each in tracked].count("2024-05-01") == 1
    assert not any(each.reused for each in tracked)


def test_a_deleted_run_is_not_reused(log: Log, client: MlflowClient) -> None:
    first = log()
    client.delete_run(first.run_id)
    assert log().version != first.version


def test_an_unequal_onnx_model_registers_nothing(
    log: Log, client: MlflowClient, fitted: Fitted
) -> None:
    before = client.search_model_versions("name = 'streamflow_churn'")
    off = dataclasses.replace(fitted, probabilities=fitted.probabilities + 2e-5)
    with pytest.raises(DifferentModel, match="the ONNX model is off by 2e-05") as raised:
        log(fitted=off, fingerprint="unequal")
    assert raised.value.difference == pytest.approx(2e-5, rel=0.1)
    (run,) = runs_of(client, "unequal")
    assert run.info.status == "FAILED"
    assert len(client.search_model_versions("name = 'streamflow_churn'")) == len(before)


def test_an_interrupted_run_is_failed(
    log: Log, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tracking, "log_files", interrupted)
    with pytest.raises(KeyboardInterrupt):
        log(fingerprint="interrupted")
    (run,) = runs_of(client, "interrupted")
    assert run.info.status == "FAILED"


def test_threads_do_not_share_a_run(log: Log) -> None:
    months = [JANUARY.shift(offset) for offset in range(4)]
    tracked: dict[Month, TrackedModel] = {}
    threads = [
        threading.Thread(target=lambda month=month: tracked.update({month: log(month=month)}))
        for month in months
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {month: each.tags["month"] for month, each in tracked.items()} == {
        month: str(month) for month in months
    }
    assert len({each.run_id for each in tracked.values()}) == 4


def test_nothing_is_printed(log: Log, capfd: pytest.CaptureFixture[str]) -> None:
    log()
    assert capfd.readouterr().out == ""


def test_a_stopped_server_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{unused.getsockname()[1]}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    get_settings.cache_clear()
    with pytest.raises(ChurnError, match=f"{uri}: MLflow does not answer"):
        mlflow_client()
    get_settings.cache_clear()


def test_who_asks_mlflow_loads_nothing_of_feast(mlflow: str) -> None:
    """Feast brings a plugin for MLflow's requests, which takes longer to load than all of MLflow."""
    script = (
        "import sys; from churn.mlflow_client import mlflow_client;"
        " mlflow_client().search_registered_models(); print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "mlflow.tracking.request_header.registry" in loaded
    assert "feast" not in loaded
