"""A small world of training rows, and what is fitted on it, once for all who only read it."""

import functools

import numpy as np
import pandas as pd

from churn.contract.in_force import DEFAULT_SERVICE
from churn.model.candidates import Candidate, candidates, fit_challenger
from churn.model.fitted import Fitted
from churn.model.train import fit_baseline


def small_world(users: int = 300, seed: int = 0) -> pd.DataFrame:
    """Rows with the columns of the richer service: nulls of every kind, one column all unknown."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame({"user_id": [f"{n:04d}-{seed:05d}" for n in range(users)]})
    for feature in DEFAULT_SERVICE.features:
        unknown = random.random(users) < 0.1
        match feature.dtype:
            case "String":
                values = random.choice(["DSL", "Fiber optic", "No"], users).astype(object)
                frame[feature.name] = np.where(unknown, None, values)
            case "Bool":
                values = random.random(users) < 0.5
                frame[feature.name] = pd.array(np.where(unknown, None, values), dtype="boolean")
            case "Int64":
                values = random.integers(0, 70, users)
                frame[feature.name] = pd.array(np.where(unknown, None, values), dtype="Int64")
            case "Float32" | "Float64":
                frame[feature.name] = np.where(unknown, np.nan, random.gamma(2.0, 20.0, users))
    frame["add_on_backup"] = None
    risk = 1 / (1 + frame["months_active"].astype("Float64").fillna(30).to_numpy(float) / 12)
    frame["churn_label"] = random.random(users) < risk
    return frame


@functools.cache
def small_baseline() -> Fitted:
    """The small world's forest, fitted once for all who only read it."""
    return fit_baseline(small_world(), DEFAULT_SERVICE, n_estimators=20)


@functools.cache
def small_candidates() -> tuple[Candidate, ...]:
    """What stands for choice beside `small_baseline`, one of each kind."""
    return tuple(candidates(small_baseline()))


@functools.cache
def small_challengers() -> dict[str, Fitted]:
    """Each kind of challenger by its name, fitted on the small world once for all who only read it."""
    baseline = small_baseline()
    return {each.kind.name: fit_challenger(each, baseline) for each in small_candidates()}
