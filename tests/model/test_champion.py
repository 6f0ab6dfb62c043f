from pathlib import Path

import pytest
from mlflow import MlflowClient

from churn.contract.in_force import BASELINE, CHAMPION_ALIAS, DEFAULT_SERVICE, REGISTERED_MODEL
from churn.errors import ChurnError
from churn.mlflow_client import mlflow_client
from churn.model.champion import champion_version, load_onnx
from churn.model.encode import FeatureSchema, onnx_inputs
from churn.model.fitted import Fitted
from churn.model.onnx import open_session, score
from churn.model.tracking import log_model_run
from churn.months import Month

JANUARY = Month.parse("2024-01")


@pytest.fixture
def client(mlflow: str) -> MlflowClient:
    return mlflow_client()


def test_the_version_that_the_alias_names_is_served(client: MlflowClient, fitted: Fitted) -> None:
    version = log_model_run(fitted, month=JANUARY, fingerprint="served", lineage={})
    client.delete_registered_model_alias(REGISTERED_MODEL, CHAMPION_ALIAS)
    assert champion_version() is None
    client.set_registered_model_alias(REGISTERED_MODEL, CHAMPION_ALIAS, version.version)
    assert champion_version() == version.version
    client.delete_registered_model_alias(REGISTERED_MODEL, CHAMPION_ALIAS)


def test_load_onnx_gives_what_scoring_needs(mlflow: str, fitted: Fitted) -> None:
    version = log_model_run(fitted, month=JANUARY, fingerprint="january", lineage={})
    onnx, schema, tags = load_onnx(version.version)
    assert schema == FeatureSchema.of(DEFAULT_SERVICE)
    assert tags["as_of"] == "2024-01-31"
    scores = score(open_session(onnx), onnx_inputs(fitted.holdout, DEFAULT_SERVICE))
    assert abs(scores - fitted.probabilities).max() < 1e-6


def test_a_changed_file_is_refused(client: MlflowClient, fitted: Fitted, tmp_path: Path) -> None:
    version = log_model_run(fitted, month=JANUARY, fingerprint="changed", lineage={})
    (tmp_path / "model.onnx").write_bytes(b"another model")
    client.log_artifact(version.run_id, str(tmp_path / "model.onnx"), "onnx")
    with pytest.raises(ChurnError, match="the stored ONNX file is not the one that was registered"):
        load_onnx(version.version)


def test_a_changed_schema_is_refused(client: MlflowClient, fitted: Fitted, tmp_path: Path) -> None:
    registered = log_model_run(fitted, month=JANUARY, fingerprint="other columns", lineage={})
    schema = FeatureSchema.of(BASELINE, fitted.threshold).write()
    (tmp_path / "feature_schema.json").write_text(schema)
    client.log_artifact(registered.run_id, str(tmp_path / "feature_schema.json"))
    with pytest.raises(ChurnError, match=r"the stored feature_schema.json is not the one"):
        load_onnx(registered.version)


def test_an_unknown_version_is_named(mlflow: str) -> None:
    with pytest.raises(ChurnError, match="streamflow_churn version 9999"):
        load_onnx("9999")
