"""A small world to fit on, and a real MLflow server."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from churn.contract.in_force import DEFAULT_SERVICE, REGISTERED_MODEL, TABLES
from churn.model.fitted import Fitted
from churn.settings import get_settings
from tests.kit.fitted_models import small_baseline, small_world


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
