"""The candidates of a month, judged inside the training users, and the challenger that comes of them."""

import dataclasses
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from churn.contract.features import Service
from churn.errors import ChurnError
from churn.evaluation.metrics import evaluate
from churn.evaluation.money import Campaign, profit_threshold
from churn.model.additive import new_logistic
from churn.model.boosting import new_boosting
from churn.model.calibration import Calibration, fit_calibration, log_odds_of
from churn.model.fitted import Fitted, Floats, Kind, log_odds
from churn.model.rows import Rows
from churn.model.split import user_hashes
from churn.settings import get_settings

FOLDS = 5
RANDOM_STATE = 42
_FOLD_SALT = "streamflow-fold-1:"  # another one than the hold-out's, or a fold would be empty
_FEW_ROWS = 20_000  # up to which one thread is quickest, and small trees are as good as larger ones
_TREES = {"min_samples_leaf": 50, "max_features": 0.4}
# Small on purpose: a month of a few thousand users tells no finer grid apart.
GRID: dict[Kind, tuple[dict[str, Any], ...]] = {
    "logistic": ({"strength": 0.1}, {"strength": 1.0}),
    "boosting": (
        {"learning_rate": 0.1, "max_iter": 80, "max_leaf_nodes": 4, **_TREES},
        {"learning_rate": 0.05, "max_iter": 150, "max_leaf_nodes": 8, **_TREES},
    ),
}


@dataclass(frozen=True)
class Candidate:
    """One kind of model on one feature service, judged on training users it was not fitted on."""

    kind: Kind
    service: Service
    parameters: dict[str, Any]
    calibration: Calibration
    auc: float
    log_loss: float
    brier: float
    seconds: float  # of tuning
    months: int = 1  # that it is fitted on

    @property
    def name(self) -> str:
        """What tables call it."""
        span = f", {self.months} months" if self.months > 1 else ""
        return f"{self.kind} on {self.service.name}{span}"


def new_candidate(kind: Kind, rows: Rows, parameters: dict[str, Any]) -> Any:
    """Return the unfitted pipeline of a tuned kind."""
    if kind == "logistic":
        return new_logistic(rows.service, **parameters)
    return new_boosting(rows.service, rows.features, **parameters)


def candidates(baseline: Fitted) -> list[Candidate]:
    """Judge the three kinds on the training users of a fitted baseline.

    The forest is judged by the trees that did not see a user, the others by folds.
    """
    return [forest(baseline), tuned("logistic", baseline.data), tuned("boosting", baseline.data)]


def best(of: Sequence[Candidate]) -> Candidate:
    """Return the candidate of the least log-loss; of equal ones the first."""
    return min(of, key=lambda candidate: candidate.log_loss)


def fit_challenger(chosen: Candidate, baseline: Fitted) -> Fitted:
    """Fit the chosen candidate on all training users, and judge it on those held out.

    Args:
        chosen: one of `candidates(baseline)`.
        baseline: the month's forest on the same feature service.
    """
    if chosen.kind == "forest":
        return _calibrated(chosen, baseline.data, baseline.pipeline, baseline.train_time_sec)
    return fit_candidate(chosen, baseline.data)


def fit_candidate(chosen: Candidate, rows: Rows) -> Fitted:
    """Fit a candidate that is no forest on all training rows, and judge it on those held out."""
    started = time.perf_counter()
    pipeline = new_candidate(chosen.kind, rows, chosen.parameters)
    with steady(rows):
        pipeline.fit(rows.features, rows.labels)
        took = time.perf_counter() - started
        return _calibrated(chosen, rows, pipeline, took)


def _calibrated(chosen: Candidate, rows: Rows, pipeline: Any, took: float) -> Fitted:
    raw = log_odds(chosen.kind, pipeline, rows.holdout)
    probabilities = chosen.calibration.probabilities(raw)
    threshold = profit_threshold(Campaign.of(get_settings().campaign))
    return Fitted(
        kind=chosen.kind,
        data=rows,
        pipeline=pipeline,
        probabilities=probabilities,
        metrics=evaluate(rows.holdout_labels, probabilities, threshold),
        train_time_sec=took,
        calibration=chosen.calibration,
        threshold=threshold,
        parameters=chosen.parameters,
    )


def steady(rows: Rows) -> threadpool_limits:
    """Return a context for fitting and judging: the same bits on any machine, no thread that spins.

    BLAS adds up in an order that depends on its threads, boosting does not; and a few thousand rows
    gain nothing from more than one, which would wait for the other after every single tree.
    """
    threads = get_settings().n_jobs if len(rows.labels) > _FEW_ROWS else 1
    return threadpool_limits({"blas": 1, "openmp": threads})


def out_of_fold(
    kind: Kind, rows: Rows, grid: Sequence[dict[str, Any]], folds: int = FOLDS
) -> list[Floats]:
    """Return each training row's log odds, by a model that was not fitted on that row's user.

    Args:
        kind: of model.
        rows: those to fit on and to judge.
        grid: parameters; the log odds are in their order. A fold is encoded once for all of them.
        folds: the most of them.

    Raises:
        ChurnError: fewer than two users of a class.
    """
    fewest = min(np.bincount(rows.labels, minlength=2))
    if fewest < 2:
        raise ChurnError(
            f"{fewest} users of one class among the training users: folds need two",
            where=rows.service.name,
            remedy="take more users, or a longer period",
        )
    found = [np.empty(len(rows.labels)) for _ in grid]
    with steady(rows):
        for fit_on, judged in _parts(rows, min(folds, int(fewest))):
            inside = dataclasses.replace(
                rows, features=rows.features.iloc[fit_on], labels=rows.labels[fit_on]
            )
            pipelines = [new_candidate(kind, inside, parameters) for parameters in grid]
            encode = pipelines[0]["encode"]  # no parameter of a grid changes the encoding
            encoded = encode.fit_transform(inside.features)
            beside = encode.transform(rows.features.iloc[judged])
            for raw, pipeline in zip(found, pipelines, strict=True):
                raw[judged] = log_odds(kind, pipeline[-1].fit(encoded, inside.labels), beside)
    return found


def _parts(rows: Rows, folds: int) -> Iterable[tuple[Any, Any]]:
    """Yield the rows to fit on and to judge; a user of several months is in one fold with all of them."""
    from sklearn.model_selection import PredefinedSplit, StratifiedKFold

    users = rows.features.index
    if users.is_unique:
        parts = StratifiedKFold(folds, shuffle=True, random_state=RANDOM_STATE)
        return parts.split(rows.features, rows.labels)  # type: ignore[no-any-return]
    fold = user_hashes(users.to_numpy(str), _FOLD_SALT) % np.uint64(folds)
    return PredefinedSplit(fold.astype(np.int64)).split()  # type: ignore[no-any-return]


def grid(kind: Kind, rows: Rows) -> Sequence[dict[str, Any]]:
    """Return the parameters to try: larger trees only where there are rows enough to grow them on."""
    few = kind == "boosting" and len(rows.labels) <= _FEW_ROWS
    return GRID[kind][:1] if few else GRID[kind]


def tuned(kind: Kind, rows: Rows) -> Candidate:
    """Return the parameters of a kind that do best out of fold, with their calibration.

    Rows of several months are all fitted on; those of the newest judge and calibrate.
    """
    started = time.perf_counter()
    parameters = grid(kind, rows)
    tried = zip(parameters, out_of_fold(kind, rows, parameters), strict=True)
    by = rows.judges
    judged = [_judged(kind, rows, each, raw[by], rows.labels[by]) for each, raw in tried]
    return dataclasses.replace(best(judged), seconds=time.perf_counter() - started)


def forest(baseline: Fitted) -> Candidate:
    """Return the baseline as a candidate: calibrated and judged by the trees that did not see a user."""
    started = time.perf_counter()
    share = out_of_bag(baseline)
    seen = np.isfinite(share)  # a few trees may leave a user out of no bag
    found = _judged(
        "forest", baseline.data, baseline.parameters,
        log_odds_of(share[seen]), baseline.data.labels[seen],
    )  # fmt: skip
    return dataclasses.replace(found, seconds=time.perf_counter() - started)


def out_of_bag(baseline: Fitted) -> Floats:
    """Return each training user's share of votes among the trees that were not fitted on that user."""
    share: Floats = baseline.pipeline["forest"].oob_decision_function_[:, 1]
    return share


def _judged(
    kind: Kind, rows: Rows, parameters: dict[str, Any], raw: Floats, labels: npt.NDArray[np.int64]
) -> Candidate:
    calibration = fit_calibration(raw, labels)
    figures = evaluate(labels, calibration.probabilities(raw), 0.5)
    return Candidate(
        kind, rows.service, parameters, calibration,
        figures["auc"], figures["log_loss"], figures["brier"], 0.0, rows.months,
    )  # fmt: skip
