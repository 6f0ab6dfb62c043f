"""Group `monitoring`: drift of a month, and performance of its scores.

What is measured is `churn.monitoring`; what an alarm starts is `automation.py`.
"""

import hashlib
import json

import dagster as dg

from churn.contract.in_force import VIEWS
from churn.mlflow_client import mlflow_client
from churn.monitoring.store import Row, read_performance
from churn.monitoring.tables import drift_table, performance_png, performance_table
from churn.monitoring.watch import WatchedDrift, WatchedPerformance, watch_drift, watch_performance
from churn.promotion.entry import NO_RELEASE
from churn.settings import get_settings
from churn_assets.monthly import Check, MonthResult, MonthStep, Outcome, monthly_asset, picture

NO_DRIFT = Check(
    "no_drift",
    "No feature, and not the score, is farther from the training window of the release in force than "
    "turnover and chance account for.",
    blocking=False,
)
AS_ESTIMATED = Check(
    "as_estimated",
    "Once labels mature, AUC and churn rate of the hold-out users are what the scores predicted, within the "
    "noise of both, and the AUC is above its floor.",
    blocking=False,
)


def monitoring_assets() -> list[dg.AssetsDefinition]:
    """Return the assets that watch a month."""
    return [
        monthly_asset(
            "feature_drift",
            feature_drift,
            group="monitoring",
            kinds={"postgres"},
            deps=["churn_scores", *(view.name for view in VIEWS)],
            checks=[NO_DRIFT],
        ),
        monthly_asset(
            "model_performance",
            model_performance,
            group="monitoring",
            kinds={"postgres"},
            deps=["churn_scores", "training_dataset"],
            checks=[AS_ESTIMATED],
        ),
    ]


def feature_drift(step: MonthStep) -> MonthResult:
    """How far the month is from the training window of the release that scored it, column by column.

    This is the Jensen-Shannon distance over the window's deciles and categories, of which unknown is one;
    scores are compared on hold-out users. Thresholds grow with the age of the window and shrink with the
    number of users. They are derived from simulated worlds in which nothing happens, where one month in a
    hundred alarms. A column that was not simulated has a provisional threshold, that of its kind, until
    `churn contract calibrate` is run. The figures are in `monitoring.feature_drift`; a page in
    `reports/drift/` and in MLflow shows each column's bins, then and now.
    """
    watched = watch_drift(step.month)
    columns = watched.drift.columns if watched.drift else []
    content = [(column.feature, column.distance, column.threshold) for column in columns]
    metadata = {
        "release": watched.release.release_id if watched.release else NO_RELEASE,
        "drifted": [column.feature for column in (watched.drift.drifted if watched.drift else ())],
        "distances": dg.MetadataValue.md(drift_table(columns)),
    }
    if watched.drift and watched.report:
        mlflow_client().log_artifact(step.record_id, str(watched.report), "drift")
        metadata |= {
            "trained_on": str(watched.drift.reference),
            "dagster/uri": watched.report.as_uri(),
            "report": dg.MetadataValue.path(str(watched.report)),
            "report_in_mlflow": _artefacts_of(step.record_id),
        }
    return MonthResult(len(columns), _fingerprint(content), metadata, [drift_outcome(watched)])


def drift_outcome(watched: WatchedDrift) -> Outcome:
    """Return the outcome of `no_drift` for a month."""
    if watched.drift is None:
        return Outcome(NO_DRIFT.name, True, description=NO_RELEASE)
    over = watched.drift.drifted
    drifted = ", ".join(f"{c.feature} {c.distance:.3f} > {c.threshold:.3f}" for c in over)
    return Outcome(
        NO_DRIFT.name,
        not over,
        {
            "columns": len(watched.drift.columns),
            "drifted": len(over),
            "provisional_thresholds": watched.drift.provisional,
        },
        drifted or None,
    )


def model_performance(step: MonthStep) -> MonthResult:
    """The estimated performance of the month's scores and, once its labels are there, the realised one.

    Before labels mature, AUC, log-loss, Brier score, churn rate and profit are estimated from the calibrated
    scores themselves. Afterwards the realised figures stand beside them, on all scored users and on those
    held out, with the error of the estimate; the release was not trained on this month. The figures are in
    `monitoring.model_performance`.
    """
    watched = watch_performance(step.month)
    history = read_performance()
    own = [row for row in history if row["month"] == str(step.month)]
    metadata = {
        "release": watched.release.release_id if watched.release else NO_RELEASE,
        "waits_for": watched.waits_for or "nothing",
        "alarms": watched.alarms,
        "month": dg.MetadataValue.md(performance_table(own)),
        "auc_by_month": dg.MetadataValue.md(performance_table(history, metric="auc")),
    }
    if history:
        metadata["plot"] = picture(performance_png(history), "performance")
    return MonthResult(
        len(watched.figures), _fingerprint(own), metadata, [performance_outcome(watched)]
    )


def performance_outcome(watched: WatchedPerformance) -> Outcome:
    """Return the outcome of `as_estimated` for a month."""
    if watched.waits_for:
        waiting = f"nothing to compare yet: waits for {watched.waits_for}"
        return Outcome(AS_ESTIMATED.name, True, description=waiting)
    if watched.release is None:
        return Outcome(AS_ESTIMATED.name, True, description=NO_RELEASE)
    alarms = watched.alarms
    return Outcome(
        AS_ESTIMATED.name, not alarms, {"alarms": len(alarms)}, "; ".join(alarms) or None
    )


def _artefacts_of(run_id: str) -> dg.MetadataValue:
    """Return the address at which MLflow's UI shows a record's artefacts, including the report."""
    uri = get_settings().mlflow_tracking_uri
    if not uri.startswith("http"):
        return dg.MetadataValue.text(run_id)
    experiment = mlflow_client().get_run(run_id).info.experiment_id
    page = f"#/experiments/{experiment}/runs/{run_id}/artifacts"
    return dg.MetadataValue.url(f"{uri.rstrip('/')}/{page}")


def _fingerprint(content: list[tuple[str, float, float]] | list[Row]) -> str:
    return hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()
