"""The version that is served: the one that MLflow's alias names, with its files verified.

Which version becomes champion is decided in `churn.promotion`; the alias only repeats the ledger.
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
    """A version's verified ONNX file, and what is needed to score with it."""

    onnx: bytes
    schema: FeatureSchema
    tags: dict[str, str]


def champion_version() -> str | None:
    """Return the version that is served now, or None before the first one."""
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
        registered = client.get_model_version(REGISTERED_MODEL, version)
        with tempfile.TemporaryDirectory() as temporary:
            paths = (registered.tags["onnx_path"], SCHEMA_PATH)
            onnx, schema = (
                Path(client.download_artifacts(registered.run_id, path, temporary)).read_bytes()
                for path in paths
            )
    except MlflowException as error:
        raise ChurnError(str(error), where=where, remedy="train the month again") from error
    if hashlib.sha256(onnx).hexdigest() != registered.tags["onnx_sha256"]:
        raise ChurnError(
            "the stored ONNX file is not the one that was registered",
            where=where,
            remedy="train the month again, and find out who changed the file",
        )
    # A version that was registered before this tag existed has none.
    sha256 = hashlib.sha256(schema).hexdigest()
    if registered.tags.get("schema_sha256", sha256) != sha256:
        raise ChurnError(
            f"the stored {SCHEMA_PATH} is not the one that was registered",
            where=where,
            remedy="train the month again, and find out who changed the file",
        )
    return LoadedModel(onnx, FeatureSchema.read(schema), dict(registered.tags))


def aliased(client: "MlflowClient") -> "ModelVersion | None":
    """Return the version that the alias names, or None where it names none."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(REGISTERED_MODEL, CHAMPION_ALIAS)
    except MlflowException as error:
        # For an alias that is not set, MLflow answers INVALID_PARAMETER_VALUE.
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return None
