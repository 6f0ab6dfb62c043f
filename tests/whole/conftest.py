"""States of the system that several of these folders begin with."""

import shutil
from pathlib import Path

import pytest

from churn.stack.postgres import EmbeddedPostgres
from tests.kit.states import Fresh, State, new_state


@pytest.fixture(scope="session")
def fresh_state(postgres: EmbeddedPostgres, empty_mlflow: Path) -> Fresh:
    """Make states with an MLflow database each: the registry is empty, and there is no API."""

    def make(home: Path, **more: str) -> State:
        shutil.copy(empty_mlflow, home / "mlflow.db")
        return new_state(postgres, home, f"sqlite:///{home}/mlflow.db", **more)

    return make
