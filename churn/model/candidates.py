"""The candidates of a month, judged on its training users out of fold, and the challenger chosen from them.

The kinds of model to choose from are `churn.model.kinds`. Whether the challenger replaces the champion is
decided in `churn.promotion`, on users that are held out.
"""

import dataclasses
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from churn.arrays import Floats, Labels
from churn.contract.structure import Service
from churn.errors import ChurnError
from churn.evaluation.metrics import evaluate
from churn.evaluation.money import Campaign, profit_threshold
from churn.model.arrays import Calibration, fit_calibration
from churn.model.fitted import Fitted
from churn.model.kinds import KINDS, Kind, Parameters
from churn.model.kinds.forest import out_of_bag
from churn.model.rows import FEW_ROWS, Rows, user_hashes
from churn.settings import get_settings

FOLDS = 5
RANDOM_STATE = 42
# With the hold-out's salt, a fold would be empty.
_FOLD_SALT = "streamflow-fold-1:"


@dataclass(frozen=True)
class Candidate:
    """One kind of model on one feature service, judged on training users it was not fitted on.

    `seconds` is what tuning took; `months`, how many label periods it is fitted on.
    """

    kind: Kind
    service: Service
    parameters: Parameters
    calibration: Calibration
    auc: float
    log_loss: float
    brier: float
    seconds: float
    months: int = 1

    @property
    def name(self) -> str:
        """Its name in tables."""
        span = f", {self.months} months" if self.months > 1 else ""
        return f"{self.kind.name} on {self.service.recorded_name}{span}"


def candidates(baseline: Fitted) -> list[Candidate]:
    """Judge every kind on the training users of a fitted baseline, by cross-validation."""
    return [tuned(kind, baseline.data) for kind in KINDS]


def best(of: Sequence[Candidate]) -> Candidate:
    """Return the candidate with the lowest log-loss; the first of equals."""
    return min(of, key=lambda candidate: candidate.log_loss)


def fit_challenger(chosen: Candidate, baseline: Fitted) -> Fitted:
    """Fit the chosen candidate on all training users, and judge it on those held out.

    Where the baseline is of the same kind, its pipeline is taken as it is.

    Args:
        chosen: one of `candidates(baseline)`.
        baseline: the month's forest on the same feature service.
    """
    if chosen.kind is baseline.kind:
        return _calibrated(chosen, baseline.data, baseline.pipeline, baseline.train_time_sec)
    return fit_candidate(chosen, baseline.data)


def fit_candidate(chosen: Candidate, rows: Rows) -> Fitted:
    """Fit a candidate on all training rows, and judge it on those held out."""
    started = time.perf_counter()
    pipeline = chosen.kind.new_pipeline(rows, chosen.parameters)
    with steady(rows):
        pipeline.fit(rows.features, rows.labels)
        took = time.perf_counter() - started
        return _calibrated(chosen, rows, pipeline, took)


def _calibrated(chosen: Candidate, rows: Rows, pipeline: Any, took: float) -> Fitted:
    raw = chosen.kind.log_odds(pipeline, rows.holdout)
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
    """Return a context for fitting and judging in which every machine computes the same bits.

    BLAS sums in an order that depends on its number of threads, so it gets one. Boosting does not; but on a
    few thousand rows a second thread gains nothing, as each would wait for the other after every tree.
    """
    threads = get_settings().n_jobs if len(rows.labels) > FEW_ROWS else 1
    return threadpool_limits({"blas": 1, "openmp": threads})


def out_of_fold(
    kind: Kind, rows: Rows, grid: Sequence[Parameters], folds: int = FOLDS
) -> list[Floats]:
    """Return each training row's log odds, from a model that was not fitted on that row's user.

    Args:
        kind: of model.
        rows: the rows to fit on and to judge.
        grid: sets of parameters. A fold is encoded once for all of them.
        folds: how many, unless a class has fewer users.

    Returns:
        One array per set of parameters, [training rows].

    Raises:
        ChurnError: fewer than two users of a class.
    """
    fewest = min(np.bincount(rows.labels, minlength=2))
    if fewest < 2:
        raise ChurnError(
            f"{fewest} users of one class among the training users: folds need two",
            where=rows.service.versioned_name,
            remedy="take more users, or a longer period",
        )
    log_odds = [np.empty(len(rows.labels)) for _ in grid]
    with steady(rows):
        for fit_on, judged in _parts(rows, min(folds, int(fewest))):
            inside = dataclasses.replace(
                rows, features=rows.features.iloc[fit_on], labels=rows.labels[fit_on]
            )
            pipelines = [kind.new_pipeline(inside, parameters) for parameters in grid]
            # No parameter of a grid changes the encoding.
            encode = pipelines[0]["encode"]
            encoded = encode.fit_transform(inside.features)
            beside = encode.transform(rows.features.iloc[judged])
            for raw, pipeline in zip(log_odds, pipelines, strict=True):
                raw[judged] = kind.log_odds(pipeline[-1].fit(encoded, inside.labels), beside)
    return log_odds


def _parts(rows: Rows, folds: int) -> Iterable[tuple[Any, Any]]:
    """Yield the rows to fit on and to judge, per fold; all months of a user are in the same fold."""
    from sklearn.model_selection import PredefinedSplit, StratifiedKFold

    users = rows.features.index
    if users.is_unique:
        parts = StratifiedKFold(folds, shuffle=True, random_state=RANDOM_STATE)
        return parts.split(rows.features, rows.labels)  # type: ignore[no-any-return]
    fold = user_hashes(users.to_numpy(str), _FOLD_SALT) % np.uint64(folds)
    return PredefinedSplit(fold.astype(np.int64)).split()  # type: ignore[no-any-return]


def tuned(kind: Kind, rows: Rows) -> Candidate:
    """Return the candidate of a kind whose parameters do best out of fold, with its calibration.

    Of rows of several months, all are fitted on, and those of the newest judge and calibrate.
    """
    started = time.perf_counter()
    parameters = kind.grid(len(rows.labels))
    tried = zip(parameters, out_of_fold(kind, rows, parameters), strict=True)
    by = rows.judges
    judged = [_judged(kind, rows, each, raw[by], rows.labels[by]) for each, raw in tried]
    return dataclasses.replace(best(judged), seconds=time.perf_counter() - started)


def forest(baseline: Fitted) -> Candidate:
    """Return the baseline as a candidate: calibrated and judged out of bag."""
    started = time.perf_counter()
    raw = out_of_bag(baseline.pipeline)
    # With few trees, a user may have been in the bag of every one.
    seen = np.isfinite(raw)
    candidate = _judged(
        baseline.kind, baseline.data, baseline.parameters, raw[seen], baseline.data.labels[seen]
    )
    return dataclasses.replace(candidate, seconds=time.perf_counter() - started)


def _judged(
    kind: Kind, rows: Rows, parameters: Parameters, raw: Floats, labels: Labels
) -> Candidate:
    calibration = fit_calibration(raw, labels)
    figures = evaluate(labels, calibration.probabilities(raw), 0.5)
    return Candidate(
        kind, rows.service, parameters, calibration,
        figures["auc"], figures["log_loss"], figures["brier"], 0.0, rows.months,
    )  # fmt: skip
