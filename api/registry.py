"""The model registry over MLflow's REST interface: which version is champion, and its files."""

from dataclasses import dataclass
from typing import Any, Protocol

import httpx

from churn.contract.model import CHAMPION_ALIAS, REGISTERED_MODEL
from churn.retry import repeat_at_once


@dataclass(frozen=True)
class ModelVersion:
    """What the registry says of the champion, unchecked; any change of it is a new champion."""

    version: str
    run_id: str
    as_of: str
    service: str
    threshold: str
    onnx_path: str
    onnx_sha256: str
    # Empty: it was registered before schemas had one.
    schema_sha256: str = ""
    explainer_path: str = ""  # empty: nothing explains this version
    explainer_sha256: str = ""


class ModelRegistry(Protocol):
    """Where champions come from; both calls raise httpx.HTTPError where it does not answer."""

    def champion(self) -> ModelVersion | None:
        """Return the version that has the alias, or None."""

    def file(self, run_id: str, path: str) -> bytes:
        """Return one artifact of a run."""

    def close(self) -> None:
        """Give back the connections."""


class MlflowRegistry:
    """MLflow's tracking server. Calls only read, so each may be made twice; the watcher asks again."""

    def __init__(self, tracking_uri: str) -> None:
        self._http = httpx.Client(base_url=tracking_uri, timeout=httpx.Timeout(30, connect=2))

    def champion(self) -> ModelVersion | None:
        """Return the version that has the alias, or None."""
        answer = repeat_at_once(
            self._http.get,
            "/api/2.0/mlflow/registered-models/alias",
            params={"name": REGISTERED_MODEL, "alias": CHAMPION_ALIAS},
        )
        if answer.status_code in {400, 404} and "error_code" in answer.text:
            return None
        return _model_version(answer.raise_for_status().json()["model_version"])

    def file(self, run_id: str, path: str) -> bytes:
        """Return one artifact of a run."""
        answer = repeat_at_once(
            self._http.get, "/get-artifact", params={"run_id": run_id, "path": path}
        )
        return answer.raise_for_status().content

    def close(self) -> None:
        """Give back the connections."""
        self._http.close()


def _model_version(found: dict[str, Any]) -> ModelVersion:
    tags = {tag["key"]: tag["value"] for tag in found.get("tags", [])}
    return ModelVersion(
        version=found["version"],
        run_id=found.get("run_id", ""),
        as_of=tags.get("as_of", ""),
        service=tags.get("service", ""),
        threshold=tags.get("threshold", ""),
        onnx_path=tags.get("onnx_path", ""),
        onnx_sha256=tags.get("onnx_sha256", ""),
        schema_sha256=tags.get("schema_sha256", ""),
        explainer_path=tags.get("explainer_path", ""),
        explainer_sha256=tags.get("explainer_sha256", ""),
    )
