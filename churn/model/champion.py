"""The version that is served: the one that MLflow's alias names, and its files, verified.

Who becomes champion is decided in churn.promotion; the alias only repeats what the ledger says.
"""

import hashlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from churn.contract.in_force import CHAMPION_ALIAS, REGISTERED_MODEL, SCHEMA_PATH
from churn.errors import ChurnError
from churn.mlflow_client import mlflow_client
from churn.model.encode import FeatureSchema

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion


class LoadedModel(NamedTuple):
    """A version's ONNX file, verified, with what is needed to score with it."""

    onnx: bytes
    schema: FeatureSchema
    tags: dict[str, str]


def champion_version() -> str | None:
    """Return the version that is served now; None before the first one."""
    current = aliased(mlflow_client())
    return str(current.version) if current else None


def load_onnx(version: str) -> LoadedModel:
    """Fetch the ONNX file of a version and verify it against the registry's sha256.

    Raises:
        ChurnError: the version does not exist, or its file is not the one that was registered.
    """
    from mlflow.exceptions import MlflowException

    client = mlflow_client()
    where = f"{REGISTERED_MODEL} version {version}"
    try:
        found = client.get_model_version(REGISTERED_MODEL, version)
        with tempfile.TemporaryDirectory() as temporary:
            paths = (found.tags["onnx_path"], SCHEMA_PATH)
            onnx, schema = (
                Path(client.download_artifacts(found.run_id, path, temporary)).read_bytes()
                for path in paths
            )
    except MlflowException as error:
        raise ChurnError(str(error), where=where, remedy="train the month again") from error
    if hashlib.sha256(onnx).hexdigest() != found.tags["onnx_sha256"]:
        raise ChurnError(
            "the stored ONNX file is not the one that was registered",
            where=where,
            remedy="train the month again, and find out who changed the file",
        )
    # A version that was registered before schemas had a sha256 has no such tag.
    sha256 = hashlib.sha256(schema).hexdigest()
    if found.tags.get("schema_sha256", sha256) != sha256:
        raise ChurnError(
            f"the stored {SCHEMA_PATH} is not the one that was registered",
            where=where,
            remedy="train the month again, and find out who changed the file",
        )
    return LoadedModel(onnx, FeatureSchema.read(schema), dict(found.tags))


def aliased(client: "MlflowClient") -> "ModelVersion | None":
    """Return the version that has the alias, as MLflow knows it."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(REGISTERED_MODEL, CHAMPION_ALIAS)
    except MlflowException as error:
        # MLflow says INVALID_PARAMETER_VALUE of an alias that is not set.
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return None
