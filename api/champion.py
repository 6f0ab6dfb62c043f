"""The champion: the model version that the registry's alias names, verified, loaded and kept up to date.

The registry is asked over MLflow's REST API, since MLflow's own client takes seconds to import:
https://mlflow.org/docs/latest/api_reference/rest-api.html
"""

import hashlib
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import httpx

from api.errors import NotReadyError
from api.explaining import Explanations, shortest_float32
from churn.contract.in_force import CHAMPION_ALIAS, REGISTERED_MODEL, SCHEMA_PATH
from churn.contract.structure import Service
from churn.retry import repeat_at_once

if TYPE_CHECKING:
    from churn.model.encode import FeatureSchema


class Repeater:
    """Calls `action` at once and then every `interval` seconds, until it returns True or is stopped."""

    def __init__(self, name: str, action: Callable[[], bool | None], interval: float) -> None:
        self._action, self._interval = action, interval
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the calls."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the calls, and wait until a running one has returned."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            if self._action():
                return
            self._stopping.wait(self._interval)


@dataclass(frozen=True)
class ModelVersion:
    """What the registry says about the champion, unverified; any change to it makes a new champion.

    The schema's sha256 is empty for a version that was registered before schemas had one, and the explainer's
    path for a version without an explainer.
    """

    version: str
    run_id: str
    as_of: str
    service: str
    threshold: str
    onnx_path: str
    onnx_sha256: str
    schema_sha256: str = ""
    explainer_path: str = ""
    explainer_sha256: str = ""


class ModelRegistry(Protocol):
    """Where champions come from; calls raise httpx.HTTPError if it does not answer."""

    def champion(self) -> ModelVersion | None:
        """Return the version that has the alias, or None."""

    def file(self, run_id: str, path: str) -> bytes:
        """Return one artifact of a run."""

    def close(self) -> None:
        """Close the connections."""


class MlflowRegistry:
    """MLflow's tracking server. All calls only read, so a failed one is repeated once."""

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
        """Close the connections."""
        self._http.close()


def _model_version(answer: dict[str, Any]) -> ModelVersion:
    tags = {tag["key"]: tag["value"] for tag in answer.get("tags", [])}
    return ModelVersion(
        version=answer["version"],
        run_id=answer.get("run_id", ""),
        as_of=tags.get("as_of", ""),
        service=tags.get("service", ""),
        threshold=tags.get("threshold", ""),
        onnx_path=tags.get("onnx_path", ""),
        onnx_sha256=tags.get("onnx_sha256", ""),
        schema_sha256=tags.get("schema_sha256", ""),
        explainer_path=tags.get("explainer_path", ""),
        explainer_sha256=tags.get("explainer_sha256", ""),
    )


LOG = logging.getLogger(__name__)
POLL_SECONDS = 2.0


class RefusedError(Exception):
    """This version must not be served."""


@dataclass(frozen=True)
class Champion:
    """One loaded version; a request takes it once, and is answered by it alone.

    `service` has the features of its own schema, which are read for it. A baseline, which only a person
    promotes, has no explanations.
    """

    version: ModelVersion
    schema: "FeatureSchema"
    service: Service
    threshold: float
    session: Any
    explanations: Explanations | None = None

    def probabilities(self, rows: Sequence[Mapping[str, Any]]) -> list[float]:
        """Return P(churn) of each row, which has all features of the schema."""
        from churn.model.encode import onnx_inputs_of_rows
        from churn.model.onnx import score

        scored = score(self.session, onnx_inputs_of_rows(rows, self.schema))
        return [shortest_float32(value) for value in scored]


class ChampionWatcher:
    """Polls the alias every `interval` seconds, and replaces the model in one assignment."""

    def __init__(self, registry: ModelRegistry, interval: float = POLL_SECONDS) -> None:
        self._registry = registry
        self._loaded: Champion | None = None
        self._refused: ModelVersion | None = None
        self._problem: str | None = "it has not been looked for yet"
        self._poller = Repeater("watch-champion", self.poll, interval)

    def start(self) -> None:
        """Start polling."""
        self._poller.start()

    def stop(self) -> None:
        """Stop polling; the model stays."""
        self._poller.stop()
        self._registry.close()

    @property
    def loaded(self) -> Champion | None:
        """The model that serves, or None before the first."""
        return self._loaded

    @property
    def problem(self) -> str | None:
        """What was wrong at the last poll; a loaded model keeps serving all the same."""
        return self._problem

    @property
    def champion(self) -> Champion:
        """The model that serves.

        Raises:
            NotReadyError: none has been loaded yet.
        """
        champion = self._loaded
        if champion is None:
            raise NotReadyError("model", self._problem or "it is being loaded")
        return champion

    def poll(self) -> None:
        """Ask once: load a new champion, or keep the present one if that fails."""
        try:
            version = self._registry.champion()
            if version is None:
                self._problem = f"no version of {REGISTERED_MODEL} has the alias {CHAMPION_ALIAS}"
            elif self._loaded is not None and version == self._loaded.version:
                self._problem = None
            elif version != self._refused:
                self._load(version)
        except (httpx.HTTPError, ValueError, KeyError) as error:
            # It is down, or it is not an MLflow.
            self._problem = f"MLflow does not answer ({type(error).__name__})"

    def _load(self, version: ModelVersion) -> None:
        try:
            self._loaded = load(version, self._registry)
        except httpx.HTTPError:
            raise
        except Exception as error:
            # Whatever is wrong with a file, it must not end the polling.
            LOG.warning("version %s is refused", version.version, exc_info=True)
            self._refused = version
            self._problem = f"version {version.version} is refused: {error}"
        else:
            LOG.info("version %s serves now", version.version)
            self._refused = self._problem = None


def load(version: ModelVersion, registry: ModelRegistry) -> Champion:
    """Fetch a version, verify it, and try it on one row.

    Raises:
        RefusedError: a file is not the registered one, or the version is inconsistent.
        httpx.HTTPError: the registry does not answer.
    """
    from churn.model.onnx import open_session

    schema = _schema(version, registry.file(version.run_id, SCHEMA_PATH))
    threshold = float(version.threshold or "nan")
    if not 0 < threshold < 1:
        raise RefusedError(f"its threshold is {threshold}")
    onnx = _verified(version, version.onnx_path, version.onnx_sha256, registry)
    explanations = None
    if version.explainer_path:
        explanations = Explanations(
            _verified(version, version.explainer_path, version.explainer_sha256, registry)
        )
    session = open_session(onnx)
    champion = Champion(version, schema, schema.as_service(), threshold, session, explanations)
    champion.probabilities([dict.fromkeys(schema.feature_names)])
    return champion


def _verified(version: ModelVersion, path: str, sha256: str, registry: ModelRegistry) -> bytes:
    content = registry.file(version.run_id, path)
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise RefusedError(f"sha256 of {path} is {digest}, registered is {sha256 or 'none'}")
    return content


def _schema(version: ModelVersion, text: bytes) -> "FeatureSchema":
    """Return a version's own schema, which must be the one that was registered.

    A schema that was registered before schemas had a sha256 must equal that of its service, column by column.
    """
    from churn.contract.in_force import service_named
    from churn.model.encode import FeatureSchema

    schema = FeatureSchema.read(text)
    if schema.service != version.service:
        raise RefusedError(
            f"its {SCHEMA_PATH} is that of {schema.service}, and it is registered as one of"
            f" {version.service or 'no service'}"
        )
    sha256 = hashlib.sha256(text).hexdigest()
    if version.schema_sha256 and version.schema_sha256 != sha256:
        raise RefusedError(
            f"sha256 of {SCHEMA_PATH} is {sha256}, registered is {version.schema_sha256}"
        )
    if not version.schema_sha256:
        service = service_named(schema.service)
        if schema != FeatureSchema.of(service, schema.threshold):
            raise RefusedError(f"its {SCHEMA_PATH} is not that of {service.versioned_name}")
    return schema
