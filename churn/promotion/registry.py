"""The model registry as promotion sees it: challengers and their files in MLflow, and the alias."""

import datetime as dt
import functools
import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from churn.arrays import Floats
from churn.contract.in_force import CHAMPION_ALIAS, REGISTERED_MODEL
from churn.contract.structure import Service
from churn.errors import ChurnError
from churn.mlflow_client import mlflow_client
from churn.model.champion import aliased, load_onnx
from churn.model.encode import FeatureSchema
from churn.model.fitted import Explainer
from churn.model.train import challenger
from churn.months import Month
from churn.promotion.ledger import Release
from churn.settings import get_settings

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from mlflow.entities.model_registry import ModelVersion

_CHECKED = "checks_passed"


class Registry(Protocol):
    """Where challengers come from, what scores with them, and which release is served."""

    def challenger(self, month: Month) -> Release | None:
        """Return the challenger of a month, once its blocking checks have passed."""

    def probabilities(self, release: Release, rows: "pd.DataFrame | pa.Table") -> Floats:
        """Return P(churn) of raw feature rows by the file that would be served, [N]."""

    def service(self, release: Release) -> Service:
        """Return the features that a release takes, by its own schema."""

    def serve(self, release: Release | None) -> None:
        """Make this the release that is served; None stops serving."""


class ReleaseRegistry:
    """Releases in MLflow's registry, where the alias `champion` names the version that is served."""

    def challenger(self, month: Month) -> Release | None:
        """Return the month's challenger, unless its blocking checks have not passed."""
        version = challenger_version(month)
        if version is None or _CHECKED not in _version(version).tags:
            return None
        return release_of(version)

    def probabilities(self, release: Release, rows: "pd.DataFrame | pa.Table") -> Floats:
        """Return P(churn) of raw feature rows by the version's ONNX file, [N]."""
        import pyarrow as pa

        from churn.model.encode import onnx_inputs, onnx_inputs_of_table
        from churn.model.onnx import score_in_blocks

        opened = _opened(release)
        if isinstance(rows, pa.Table):
            inputs = onnx_inputs_of_table(rows, opened.schema)
        else:
            inputs = onnx_inputs(rows, opened.schema)
        return score_in_blocks(opened.session, inputs, get_settings().n_jobs).astype(np.float64)

    def service(self, release: Release) -> Service:
        """Return the features that a release takes, by its own `feature_schema.json`."""
        return _opened(release).schema.as_service()

    def serve(self, release: Release | None) -> None:
        """Point the alias at the release, if it does not already."""
        client = mlflow_client()
        served = _served_version()
        wanted = str(version_of(release).version) if release else None
        if wanted == served:
            return
        if wanted is None:
            client.delete_registered_model_alias(REGISTERED_MODEL, CHAMPION_ALIAS)
        else:
            client.set_registered_model_alias(REGISTERED_MODEL, CHAMPION_ALIAS, wanted)

    def is_served(self, release: Release) -> bool:
        """Return whether the alias points at the release."""
        return _served_version() == str(version_of(release).version)


def _served_version() -> str | None:
    current = aliased(mlflow_client())
    return str(current.version) if current else None


def mark_checked(month: Month) -> str | None:
    """Record that the blocking checks of a month's models passed; return the challenger's version."""
    version = challenger_version(month)
    if version is not None:
        mlflow_client().set_model_version_tag(REGISTERED_MODEL, version, _CHECKED, "true")
    return version


def challenger_version(month: Month) -> str | None:
    """Return the version of a month's challenger, or None where there is none."""
    trained = challenger(month)
    return trained.version if trained else None


def release_of(version: str) -> Release:
    """Describe a registered version as a release, from its verified files and its tags.

    Raises:
        ChurnError: the version does not exist, or its file is not the one that was registered.
    """
    return _loaded(_run_id(version), version).release


def version_of(release: Release) -> "ModelVersion":
    """Return the registered version of a release: its own or, where that was deleted, one that equals it.

    Training its month again registers the same content under another number.

    Raises:
        ChurnError: there is neither.
    """
    from mlflow.exceptions import MlflowException

    client = mlflow_client()
    try:
        own = client.get_model_version(REGISTERED_MODEL, release.version)
        # In another registry, the number may be that of a different model.
        if own.tags.get("onnx_sha256") == release.onnx_sha256:
            return own
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
    same = f"name = '{REGISTERED_MODEL}' and tags.onnx_sha256 = '{release.onnx_sha256}'"
    equals = client.search_model_versions(same)
    for each in sorted(equals, key=lambda version: -int(version.version)):
        if release_of(str(each.version)).release_id == release.release_id:
            return each
    raise ChurnError(
        f"the version of release {release.short_id} was deleted in MLflow",
        where=f"{REGISTERED_MODEL} version {release.version}",
        remedy=f"`churn train --month {release.month}` makes it again; `churn promote VERSION` puts another"
        " in force",
    )


def read_explainer(version: str) -> Explainer | None:
    """Return the explainer of a version; None for a baseline, which has none.

    Raises:
        ChurnError: the version does not exist, or its explainer is not the one that was registered.
    """
    registered = _version(version)
    if "explainer_path" not in registered.tags:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = registered.tags["explainer_path"]
        content = Path(
            mlflow_client().download_artifacts(registered.run_id, path, folder)
        ).read_bytes()
    if hashlib.sha256(content).hexdigest() != registered.tags["explainer_sha256"]:
        raise ChurnError(
            f"the stored {path} is not the one that was registered",
            where=f"{REGISTERED_MODEL} version {version}",
            remedy="train the month again, and find out who changed the file",
        )
    return Explainer.read(content)


@dataclass(frozen=True)
class _Loaded:
    """A version's files, opened: the release, its feature schema, and the session to score with."""

    release: Release
    schema: FeatureSchema
    session: Any


def _opened(release: Release) -> _Loaded:
    registered = version_of(release)
    return _loaded(str(registered.run_id), str(registered.version))


# They can be cached, since the files of a run never change: each is checked against its sha256.
@functools.lru_cache(maxsize=8)
def _loaded(run_id: str, version: str) -> _Loaded:
    from churn.model.onnx import open_session

    loaded = load_onnx(version)
    tags = loaded.tags
    params = mlflow_client().get_run(run_id).data.params
    calibration = {name: value for name, value in params.items() if name.startswith("calibration")}
    release = Release(
        version=version,
        service=loaded.schema.service,
        candidate=tags.get("candidate", "forest"),
        threshold=loaded.schema.threshold,
        calibration=" ".join(f"{name}={calibration[name]}" for name in sorted(calibration))
        or "none",
        as_of=dt.date.fromisoformat(tags["as_of"]),
        fingerprint=tags["fingerprint"],
        onnx_sha256=tags["onnx_sha256"],
        schema_sha256=hashlib.sha256(loaded.schema.write().encode()).hexdigest(),
        contract=tags.get("contract"),
    )
    return _Loaded(release, loaded.schema, open_session(loaded.onnx))


def _version(version: str) -> "ModelVersion":
    from mlflow.exceptions import MlflowException

    try:
        return mlflow_client().get_model_version(REGISTERED_MODEL, version)
    except MlflowException as error:
        raise ChurnError(
            str(error),
            where=f"{REGISTERED_MODEL} version {version}",
            remedy="see the versions in MLflow, or in `churn ledger`",
        ) from error


def _run_id(version: str) -> str:
    return str(_version(version).run_id)
