"""The record of a model in MLflow: its run, its artefacts, its registered version.

What is fitted is `train.py`; which version serves is decided in `churn.promotion`. MLflow's registry:
https://mlflow.org/docs/latest/ml/model-registry
"""

import hashlib
import json
import logging
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from churn.contract.in_force import CONTRACT, ONNX_PATH, REGISTERED_MODEL, SCHEMA_PATH
from churn.mlflow_client import ensure_registered_model, experiment_id, mlflow_client
from churn.model.encode import FeatureSchema, onnx_inputs
from churn.model.fitted import EXPLAINER_PATH, Fitted, explainer_of, to_onnx
from churn.model.onnx import TOLERANCE, DifferentModel, open_session, score
from churn.model.packing import pack_onnx, pack_pipeline, requirements
from churn.model.plots import model_report_png
from churn.model.rows import HOLDOUT_SHARE
from churn.months import Month
from churn.settings import get_settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

_logger = logging.getLogger(__name__)
REPORT_PATH = "plots/model_report.png"
# The parameter and tag that name the feature service with its version; `service` omits version 1.
FEATURE_SERVICE = "feature_service"
# The values of a version's tag `role`.
CHALLENGER, BASELINE_ROLE = "challenger", "baseline"
# The tags of the run that its version keeps.
_VERSION_TAGS = ("dagster_run_id", "as_known")


@dataclass(frozen=True)
class LoggedModel:
    """A fitted model whose run and files are in MLflow, with what it takes to register it.

    Where the very same model is registered already, `equal` is that version.
    """

    fitted: Fitted
    onnx_max_difference: float
    report_png: bytes
    run_id: str = ""
    model_id: str = ""
    description: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    equal: "ModelVersion | None" = None


@dataclass(frozen=True)
class TrackedModel:
    """A registered version of the model; `reused` where it was there before."""

    version: str
    run_id: str
    tags: dict[str, str]
    reused: bool
    onnx_max_difference: float
    report_png: bytes


def log_model_run(fitted: Fitted, **known: Any) -> TrackedModel:
    """Record a fitted model in MLflow and register it: `log_model`, then `register`."""
    return register(log_model(fitted, **known))


def log_model(
    fitted: Fitted,
    *,
    month: Month,
    fingerprint: str,
    lineage: Mapping[str, Any],
    parent_run_id: str | None = None,
    tags: Mapping[str, str] | None = None,
    experiment: str | None = None,
    files: Mapping[str, bytes] | None = None,
) -> LoggedModel:
    """Record a fitted model in MLflow, ready to be registered; the same model twice gives one version.

    Two models are the same if month, cut-off, service, data, libraries and every bit of the ONNX file are.
    A version whose run or file has been deleted since does not count.

    Args:
        fitted: the model.
        month: the label period that it was fitted on.
        fingerprint: of the training set.
        lineage: where the training set comes from; it becomes `lineage.json`.
        parent_run_id: the MLflow run of the Dagster run.
        tags: more tags for the run; the version keeps `dagster_run_id` and `as_known`, too.
        experiment: the one to record in, if not MLFLOW_EXPERIMENT.
        files: more artefacts of the run, by path.

    Raises:
        DifferentModel: on the hold-out, the ONNX model does not give the pipeline's probabilities. The run
            ends FAILED, and nothing is registered.
        ChurnError: MLflow does not answer.
    """
    from mlflow.entities import Param

    client = mlflow_client()
    onnx = to_onnx(fitted)
    explainer = explainer_of(fitted).write() if fitted.calibration is not None else None
    as_of = month.as_of_date.isoformat()
    service = fitted.service.versioned_name
    report = model_report_png(fitted, f"{month} ({as_of}), {service}")
    is_challenger = fitted.calibration is not None
    identity = {
        "month": str(month),
        "role": CHALLENGER if is_challenger else BASELINE_ROLE,
        "candidate": fitted.kind.name,
        "service": fitted.service.recorded_name,
        "fingerprint": fingerprint,
        "onnx_sha256": hashlib.sha256(onnx).hexdigest(),
        "libraries": " ".join(requirements()),
    }
    schema = FeatureSchema.of(fitted.service, fitted.threshold).write().encode()
    difference = _difference(fitted, onnx)
    more = {key: value for key, value in (tags or {}).items() if value}
    if equal := _registered(client, identity, more.get("as_known", "")):
        return LoggedModel(fitted, difference, report, equal=equal)

    name = f"challenger_{as_of}" if is_challenger else f"rf_baseline_{as_of}"
    run_tags = {
        **more,
        "service": fitted.service.recorded_name,
        FEATURE_SERVICE: service,
        "as_of": as_of,
        "month": str(month),
    }
    if parent_run_id:
        run_tags["mlflow.parentRunId"] = parent_run_id
    in_experiment = experiment_id(client, experiment or get_settings().mlflow_experiment)
    with _run(client, in_experiment, name, run_tags) as run_id:
        params = _params(fitted, as_of, fingerprint)
        client.log_batch(run_id, params=[Param(*param) for param in params.items()])
        # Written so that NaN is refused, too.
        if not difference <= TOLERANCE:
            raise DifferentModel(difference, f"{service} of {month}")
        model_id = _log_model(client, fitted, onnx, run_id, in_experiment, params)
        _log_metrics(client, run_id, model_id, fitted, difference)
        log_files(
            client,
            run_id,
            {
                SCHEMA_PATH: schema,
                "lineage.json": json.dumps(lineage, indent=2, default=str).encode(),
                REPORT_PATH: report,
                ONNX_PATH: onnx,
                **({EXPLAINER_PATH: explainer} if explainer else {}),
                **(files or {}),
            },
        )
    return LoggedModel(
        fitted,
        difference,
        report,
        run_id,
        model_id,
        description=f"{service} of {month}, fitted on {fitted.training_rows} users",
        tags={
            **identity,
            FEATURE_SERVICE: service,
            "contract": CONTRACT.fingerprint,
            "as_of": as_of,
            "onnx_path": ONNX_PATH,
            "schema_sha256": hashlib.sha256(schema).hexdigest(),
            "threshold": str(fitted.threshold),
            **(_explainer_tags(explainer) if explainer else {}),
            **{key: more[key] for key in _VERSION_TAGS if key in more},
        },
    )


def register(logged: LoggedModel) -> TrackedModel:
    """Register a logged model, unless its equal is registered already."""
    if logged.equal is not None:
        return _tracked(logged.equal, logged, reused=True)
    client = mlflow_client()
    ensure_registered_model(
        client, REGISTERED_MODEL, f"P(churn) of a user of {CONTRACT.name} within the next month."
    )
    version = client.create_model_version(
        REGISTERED_MODEL,
        source=f"models:/{logged.model_id}",
        run_id=logged.run_id,
        model_id=logged.model_id,
        # The registry answers once the version is ready.
        await_creation_for=0,
        description=logged.description,
        tags=logged.tags,
    )
    return _tracked(version, logged, reused=False)


def refuse(logged: LoggedModel) -> None:
    """Mark the run of a model that will not be registered as failed; the run stays, as evidence.

    Where MLflow does not answer, that is only logged, so as not to hide why the model is refused.
    """
    if logged.equal is not None:
        return
    try:
        mlflow_client().set_terminated(logged.run_id, status="FAILED")
    except Exception:
        _logger.warning("run %s could not be recorded as failed", logged.run_id, exc_info=True)


def _explainer_tags(explainer: bytes) -> dict[str, str]:
    digest = hashlib.sha256(explainer).hexdigest()
    return {"explainer_path": EXPLAINER_PATH, "explainer_sha256": digest}


def _tracked(version: "ModelVersion", logged: LoggedModel, *, reused: bool) -> TrackedModel:
    return TrackedModel(
        version=str(version.version),
        run_id=str(version.run_id),
        tags=dict(version.tags),
        reused=reused,
        onnx_max_difference=logged.onnx_max_difference,
        report_png=logged.report_png,
    )


@contextmanager
def _run(
    client: "MlflowClient", in_experiment: str, name: str, tags: dict[str, str]
) -> Iterator[str]:
    """Hold one run open; it ends FINISHED, or FAILED if anything is raised."""
    run_id = client.create_run(in_experiment, run_name=name, tags=tags).info.run_id
    try:
        yield run_id
    except BaseException:
        client.set_terminated(run_id, status="FAILED")
        raise
    client.set_terminated(run_id, status="FINISHED")


def _registered(
    client: "MlflowClient", identity: dict[str, str], as_known: str
) -> "ModelVersion | None":
    wanted = " and ".join(f"tags.`{key}` = '{value}'" for key, value in identity.items())
    versions = client.search_model_versions(f"name = '{REGISTERED_MODEL}' and {wanted}")
    same = [version for version in versions if version.tags.get("as_known", "") == as_known]
    for version in sorted(same, key=lambda each: -int(each.version)):
        run = client.get_run(version.run_id)
        alive = run.info.lifecycle_stage == "active" and run.info.status == "FINISHED"
        folder = str(Path(ONNX_PATH).parent)
        if alive and any(
            f.path == ONNX_PATH for f in client.list_artifacts(run.info.run_id, folder)
        ):
            return version
    return None


def _params(fitted: Fitted, as_of: str, fingerprint: str) -> dict[str, str]:
    params = {
        "as_of": as_of,
        "model_type": fitted.model_type,
        "rows": fitted.rows,
        "months": fitted.data.months,
        "training_rows": fitted.training_rows,
        "holdout_rows": fitted.holdout_rows,
        "holdout_share": HOLDOUT_SHARE,
        "threshold": fitted.threshold,
        **fitted.parameters,
        "service": fitted.service.recorded_name,
        FEATURE_SERVICE: fitted.service.versioned_name,
        "fingerprint": fingerprint,
    }
    if fitted.calibration:
        params |= {f"calibration_{k}": v for k, v in asdict(fitted.calibration).items()}
    return {key: str(value) for key, value in params.items()}


def _difference(fitted: Fitted, onnx: bytes) -> float:
    probabilities = score(open_session(onnx), onnx_inputs(fitted.holdout, fitted.service))
    return float(np.abs(probabilities - fitted.probabilities).max())


def _log_model(
    client: "MlflowClient",
    fitted: Fitted,
    onnx: bytes,
    run_id: str,
    in_experiment: str,
    params: dict[str, str],
) -> str:
    from mlflow.entities import LoggedModelOutput

    model = client.create_logged_model(
        in_experiment,
        name="model",
        source_run_id=run_id,
        params=params,
        model_type=fitted.model_type,
    )
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        if fitted.calibration:
            pack_onnx(onnx, fitted.service, folder, run_id, model.model_id)
        else:
            pack_pipeline(fitted.pipeline, fitted.service, folder, run_id, model.model_id)
        client.log_model_artifacts(model.model_id, str(folder))
    client.finalize_logged_model(model.model_id, "READY")
    return str(model.model_id)


def _log_metrics(
    client: "MlflowClient", run_id: str, model_id: str, fitted: Fitted, difference: float
) -> None:
    from mlflow.entities import Metric

    # Only MLflow's own charts use the time; nothing of ours reads it.
    now = int(time.time() * 1000)
    values = {
        **fitted.metrics,
        "train_time_sec": fitted.train_time_sec,
        "onnx_max_difference": difference,
    }
    metrics = [
        Metric(name, value, now, 0, model_id=model_id, run_id=run_id)
        for name, value in values.items()
    ]
    client.log_batch(run_id, metrics=metrics)


def log_files(client: "MlflowClient", run_id: str, files: Mapping[str, bytes]) -> None:
    """Write artefacts of a run; `files` maps paths to contents."""
    with tempfile.TemporaryDirectory() as temporary:
        for path, content in files.items():
            file = Path(temporary) / path
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(content)
        client.log_artifacts(run_id, temporary)
