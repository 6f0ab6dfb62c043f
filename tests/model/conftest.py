"""Small worlds to fit on, and a real MLflow server."""

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from churn.contract.in_force import DEFAULT_SERVICE, REGISTERED_MODEL, TABLES
from churn.model.candidates import Candidate, candidates, fit_challenger
from churn.model.fitted import Fitted
from churn.model.train import fit_baseline
from churn.settings import get_settings


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


@pytest.fixture(scope="session")
def world() -> pd.DataFrame:
    return small_world()


@pytest.fixture(scope="session")
def fitted() -> Fitted:
    return small_baseline()


@pytest.fixture(scope="session")
def drop(real_drop: Path) -> pd.DataFrame:
    """The drop from outside as one row per user; the optional columns that it lacks are null."""
    frame, *others = (pd.read_csv(real_drop / table.file) for table in TABLES)
    for other in others:
        frame = frame.merge(other, on="user_id", validate="one_to_one")
    return frame.reindex(columns=["user_id", *DEFAULT_SERVICE.feature_names, "churn_label"])


@pytest.fixture
def mlflow(no_champion: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The real server, chosen through the environment; the versions of a test leave with it."""
    import mlflow
    from mlflow.exceptions import MlflowException

    monkeypatch.setenv("MLFLOW_TRACKING_URI", no_champion)
    get_settings.cache_clear()
    mlflow.set_tracking_uri(no_champion)  # an earlier test's Dagster run may have left its own
    yield no_champion
    with contextlib.suppress(MlflowException):  # some register nothing
        mlflow.MlflowClient(no_champion, no_champion).delete_registered_model(REGISTERED_MODEL)
    mlflow.set_tracking_uri(None)
    get_settings.cache_clear()
