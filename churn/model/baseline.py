"""The baseline, which the client fixed: a forest of 300 trees, fitted the same way every time."""

import time
from typing import TYPE_CHECKING

from churn.contract.features import Service
from churn.evaluation.metrics import evaluate
from churn.model.encode import THRESHOLD
from churn.model.fitted import Fitted
from churn.model.kinds import FOREST
from churn.model.kinds.forest import N_ESTIMATORS, RANDOM_STATE, new_forest
from churn.model.rows import prepare
from churn.model.split import SAMPLE_LIMIT
from churn.settings import get_settings

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

    The same rows give the same bits, in whatever order they come.

    Args:
        training_set: user_id, churn_label and the features of `service`.
        service: the features to use.
        n_estimators: the client's 300; tests take fewer.
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
    # Several threads add up the trees in the order in which they happen to finish.
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
