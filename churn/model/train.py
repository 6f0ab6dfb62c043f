"""The models of a month: the baselines and the challenger; fitted, logged, registered, and looked up again.

The baseline is fixed: a forest of 300 trees with balanced class weights, fitted the same way every time.
Which candidate becomes the challenger is decided in `candidates.py`; what a run in MLflow holds, in
`tracking.py`.
"""

import datetime as dt
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from churn.contract.in_force import REGISTERED_MODEL, SERVICES, plain_name, services_within
from churn.contract.structure import Service
from churn.evaluation.metrics import evaluate
from churn.mlflow_client import mlflow_client
from churn.model.candidates import (
    Candidate,
    best,
    candidates,
    fit_candidate,
    fit_challenger,
    tuned,
)
from churn.model.encode import THRESHOLD
from churn.model.fitted import Fitted
from churn.model.kinds import FOREST, POOLED
from churn.model.kinds.forest import N_ESTIMATORS, RANDOM_STATE, new_forest
from churn.model.rows import SAMPLE_LIMIT, prepare
from churn.model.tracking import (
    BASELINE_ROLE,
    CHALLENGER,
    LoggedModel,
    log_model,
    refuse,
    register,
)
from churn.model.windows import pooled_rows
from churn.months import Month
from churn.settings import get_settings
from churn.training.dataset import TrainingSet, build_training_set, lineage, read_training_set

if TYPE_CHECKING:
    import pandas as pd


def fit_baseline(
    training_set: "pd.DataFrame",
    service: Service,
    *,
    n_estimators: int = N_ESTIMATORS,
    sample_limit: int = SAMPLE_LIMIT,
) -> Fitted:
    """Fit the baseline on the users that are not held out, and judge it on those that are.

    The same rows give the same bits, whatever order they come in.

    Args:
        training_set: user_id, churn_label and the features of `service`.
        service: the features to use.
        n_estimators: trees of the baseline, which is fixed at 300; tests take fewer.
        sample_limit: above this many training rows, fit on a fixed sample of users.

    Raises:
        ChurnError: users are repeated, or a side of the split is empty or of one class only.
    """
    rows = prepare(training_set, service, sample_limit=sample_limit)
    pipeline = new_forest(service, n_estimators)
    forest = pipeline["forest"]
    started = time.perf_counter()
    forest.n_jobs = get_settings().n_jobs
    pipeline.fit(rows.features, rows.labels)
    train_time_sec = time.perf_counter() - started
    # Several threads would add up the trees in whatever order they finish.
    forest.n_jobs = 1
    probabilities = pipeline.predict_proba(rows.holdout)[:, 1]
    return Fitted(
        kind=FOREST,
        data=rows,
        pipeline=pipeline,
        probabilities=probabilities,
        metrics=evaluate(rows.holdout_labels, probabilities, THRESHOLD),
        train_time_sec=train_time_sec,
        parameters={"n_estimators": n_estimators, "random_state": RANDOM_STATE},
    )


CANDIDATES_PATH = "candidates.json"


@dataclass(frozen=True)
class TrainedModel:
    """One registered version and its figures on the hold-out.

    `fingerprint` and `rows` are those of the training set, the hold-out included.
    """

    month: str
    service: str
    version: str
    fingerprint: str
    rows: int
    metrics: dict[str, float]
    kind: str = "forest"
    report_png: bytes = b""

    def as_row(self) -> dict[str, Any]:
        """Return the model's row of `churn run --json`; users rely on these eight names."""
        return {
            "month": self.month,
            "service": self.service,
            "rows": self.rows,
            "auc": self.metrics["auc"],
            "f1": self.metrics["f1"],
            "accuracy": self.metrics["accuracy"],
            "model_version": self.version,
            "fingerprint": self.fingerprint,
        }


@dataclass(frozen=True)
class MonthModels:
    """The models of a month: a baseline per feature service, and the challenger, chosen from candidates."""

    baselines: list[TrainedModel]
    challenger: TrainedModel
    candidates: list[Candidate]


def train_models(
    month: Month,
    *,
    parent_run_id: str | None = None,
    dagster_run_id: str = "",
    as_known: dt.datetime | None = None,
    judge: Callable[[Sequence[LoggedModel]], None] | None = None,
) -> MonthModels:
    """Fit and register the month's models: a baseline per feature service, and the best candidate.

    All are fitted, logged and judged before the first is registered. If anything fails before the last one
    is registered, the MLflow runs of those that are not end as failed.

    The candidates are judged on the month's training users only, by their log-loss out of fold. Where
    CHURN_CANDIDATE_MONTHS is more than 1, one of them is fitted on earlier months, too.

    Args:
        month: the label period.
        parent_run_id: the MLflow run that stands for the Dagster run.
        dagster_run_id: the Dagster run.
        as_known: first build a training set as known at this instant, beside the month's own.
        judge: is given the models before any is registered, the challenger last. If it raises, the registry
            stays as it was.
    """
    training_set = build_training_set(month, as_known) if as_known else read_training_set(month)
    log = partial(
        log_model,
        month=training_set.month,
        fingerprint=training_set.fingerprint,
        lineage=lineage(training_set, as_known),
        parent_run_id=parent_run_id,
        tags={
            "dagster_run_id": dagster_run_id,
            "as_known": as_known.isoformat() if as_known else "",
        },
    )
    logged: list[LoggedModel] = []
    registered: list[TrainedModel] = []
    try:
        candidates_judged = _fit_and_log(
            training_set, partial(_append, logged, log), pooled=as_known is None
        )
        if judge is not None:
            judge(logged)
        for model in logged:
            registered.append(_register(model, training_set))
    except BaseException:
        for model in logged[len(registered) :]:
            refuse(model)
        raise
    return MonthModels(registered[:-1], registered[-1], candidates_judged)


def _fit_and_log(
    training_set: TrainingSet, log: Callable[..., None], *, pooled: bool
) -> list[Candidate]:
    """Fit and log the baselines and the challenger; return the candidates that it was chosen from."""
    frame = training_set.rows.to_pandas()
    baselines: dict[str, Fitted] = {}
    # Logging is mostly waiting for MLflow, so it runs beside the fitting. One thread, and the challenger
    # last, keep the versions in order.
    with ThreadPoolExecutor(1, thread_name_prefix="record") as beside:
        pending: list[Future[None]] = []
        for service in services_within(frame.columns):
            baselines[service.name] = fitted = fit_baseline(frame, service)
            pending.append(beside.submit(_log_after, [*pending], log, fitted))
        judged = [candidate for fitted in baselines.values() for candidate in candidates(fitted)]
        several_months = pooled_rows(training_set) if pooled else None
        if several_months:
            judged.append(tuned(POOLED, several_months.rows))
        chosen = best(judged)
        behind: dict[str, Any] = {}
        if several_months and chosen.months > 1:
            challenger = fit_candidate(chosen, several_months.rows)
            behind = {"fingerprint": several_months.fingerprint, "lineage": several_months.origin}
        else:
            challenger = fit_challenger(chosen, baselines[chosen.service.name])
        for each in pending:
            each.result()
    log(challenger, files={CANDIDATES_PATH: _table(judged)}, **behind)
    return judged


def _append(
    logged: list[LoggedModel], log: Callable[..., LoggedModel], fitted: Fitted, **more: Any
) -> None:
    logged.append(log(fitted, **more))


def _log_after(others: list[Future[None]], log: Callable[..., None], fitted: Fitted) -> None:
    for other in others:
        # Where one cannot be logged, those after it need not be.
        other.result()
    log(fitted)


def _register(logged: LoggedModel, training_set: TrainingSet) -> TrainedModel:
    fitted, tracked = logged.fitted, register(logged)
    return TrainedModel(
        month=str(training_set.month),
        service=fitted.service.recorded_name,
        version=tracked.version,
        fingerprint=tracked.tags["fingerprint"],
        rows=training_set.rows.num_rows,
        metrics={
            **fitted.metrics,
            "train_time_sec": fitted.train_time_sec,
            "onnx_max_difference": tracked.onnx_max_difference,
        },
        kind=fitted.kind.name,
        report_png=tracked.report_png,
    )


def _table(judged: list[Candidate]) -> bytes:
    rows = [
        {
            "candidate": each.kind.name,
            "service": each.service.recorded_name,
            "months": each.months,
            "parameters": each.parameters,
            "auc": each.auc,
            "log_loss": each.log_loss,
            "brier": each.brier,
        }
        for each in judged
    ]
    return json.dumps(rows, indent=2).encode()


def trained_models(month: Month) -> list[TrainedModel]:
    """Return the newest registered baseline of a month for each feature service that has one."""
    newest = (_newest(month, BASELINE_ROLE, service.name) for service in SERVICES)
    return [model for model in newest if model]


def challenger(month: Month) -> TrainedModel | None:
    """Return the newest registered challenger of a month, or None where none has been trained yet."""
    return _newest(month, CHALLENGER)


def _newest(month: Month, role: str, service: str = "") -> TrainedModel | None:
    """Return a month's newest version in a role, on any version of a feature service if one is given."""
    client = mlflow_client()
    versions = client.search_model_versions(
        f"name = '{REGISTERED_MODEL}' and tags.`month` = '{month}' and tags.`role` = '{role}'"
    )
    own = [
        version
        for version in versions
        if not version.tags.get("as_known") and service in ("", plain_name(version.tags["service"]))
    ]
    if not own:
        return None
    newest = max(own, key=lambda version: int(version.version))
    run = client.get_run(newest.run_id)
    return TrainedModel(
        month=str(month),
        service=newest.tags["service"],
        version=str(newest.version),
        fingerprint=newest.tags["fingerprint"],
        rows=int(run.data.params["rows"]),
        metrics=dict(run.data.metrics),
        kind=newest.tags["candidate"],
    )
