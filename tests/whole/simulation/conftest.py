"""A state of its own, in which months are played in this process."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from churn.population.drops import ORACLE
from churn.settings import get_settings
from churn.stack.postgres import EmbeddedPostgres
from tests.kit.states import State, new_state, running_api

MONTHS = 3


@pytest.fixture(scope="module")
def state(
    postgres: EmbeddedPostgres, empty_mlflow: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[State]:
    """An empty state of three months with an API, as `churn simulate` makes one."""
    home = tmp_path_factory.mktemp("simulation") / "home"
    home.mkdir()
    shutil.copy(empty_mlflow, home / "mlflow.db")
    (home / "dagster").mkdir()
    state = new_state(
        postgres,
        home,
        f"sqlite:///{home}/mlflow.db",
        CHURN_LAST_MONTH="2024-03",
        CHURN_ORACLE=str(home / "drops" / ORACLE),
        DAGSTER_HOME=str(home / "dagster"),
    )
    # What is patched within the state is undone before it, which sets some of the same variables.
    with state.entered(), pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)  # artefacts of an MLflow without a server go there
        for name in ("POSTGRES_SSLMODE", "PGSSLMODE"):  # which the Dagster instance sets
            patch.setenv(name, get_settings().postgres_sslmode)
        with running_api(state) as url:
            patch.setenv("CHURN_API_URL", url)
            get_settings.cache_clear()
            yield state
