"""A state of the system apart from all others: database, state folder, MLflow, Dagster instance."""

import itertools
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import psycopg
import pytest

from churn.contract.in_force import REGISTERED_MODEL
from churn.database import connect
from churn.deliveries import DeliveryOutcome, deliver
from churn.mlflow_client import mlflow_client
from churn.months import Month
from churn.settings import get_settings
from churn.stack.parts import http_command
from churn.stack.postgres import EmbeddedPostgres
from churn.stack.processes import free_port
from churn_assets.run import JobResult, run_job
from feature_repo.store import apply_features
from tests.kit.quick_training import fit_small_models

_NUMBERS = itertools.count()
JANUARY, FEBRUARY, MARCH = (Month.parse(f"2024-0{n}") for n in (1, 2, 3))
NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)


@dataclass
class State:
    """What the environment of one state is, and the Dagster instance that records on it."""

    environment: dict[str, str]
    instance: dg.DagsterInstance = field(default_factory=dg.DagsterInstance.ephemeral)
    defs: dg.Definitions | None = None
    has_full_models: bool = False  # as a user's are; all others are quickly fitted

    @property
    def home(self) -> Path:
        return Path(self.environment["CHURN_HOME"])

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Make this state the one that settings, Postgres, MLflow and the graph speak of."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment.items():
                patch.setenv(name, value)
            get_settings.cache_clear()
            from churn_assets import definitions

            self.defs = self.defs or definitions.build_defs()
            patch.setattr(definitions, "defs", self.defs)
            if not self.has_full_models:
                fit_small_models(patch)
            yield
        get_settings.cache_clear()
        import mlflow

        while mlflow.active_run():
            mlflow.end_run()

    def deliver(self, drop: Path, **more: Any) -> DeliveryOutcome:
        return deliver(drop, now=NOW, **more)

    def close(self, month: Month) -> JobResult:
        return run_job("month_close", month, self.instance)

    def train(self, month: Month) -> JobResult:
        return run_job("train_month", month, self.instance)

    def score(self, month: Month) -> JobResult:
        return run_job("score_month", month, self.instance)

    def make(self, *keys: str, month: Month, **more: Any) -> dg.ExecuteInProcessResult:
        """Materialize some assets of one month, with their checks."""
        assert self.defs is not None
        job = self.defs.resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            asset_selection=[dg.AssetKey(key) for key in keys],
            partition_key=month.partition_key,
            instance=self.instance,
            raise_on_error=False,
            **more,
        )

    def materialization(self, asset: str, month: Month) -> dg.AssetMaterialization:
        """Return the newest materialization of an asset's month."""
        record_page = self.instance.fetch_materializations(
            dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=[month.partition_key]),
            limit=1,
        )
        event = record_page.records[0].asset_materialization
        assert event is not None
        return event

    def is_materialized(self, asset: str, month: Month) -> bool:
        return month.partition_key in self.instance.get_materialized_partitions(dg.AssetKey(asset))


def new_state(
    server: EmbeddedPostgres,
    home: Path,
    mlflow_uri: str,
    template: str = "template_churn",
    **environment: str,
) -> State:
    """Return a state with an empty database, or a copy of another one, made ready for Feast."""
    database = f"flow{os.getpid()}_{next(_NUMBERS)}"
    state = State(
        {
            **server.environment,
            "CHURN_HOME": str(home),
            "POSTGRES_DB": database,
            "MLFLOW_TRACKING_URI": mlflow_uri,
            "MLFLOW_EXPERIMENT": database,
            "CHURN_API_URL": "http://127.0.0.1:9",  # nothing answers there
            **environment,
        }
    )
    with state.entered():
        with psycopg.connect(get_settings().dsn("postgres"), autocommit=True) as connection:
            connection.execute(  # Feast keeps connections, and what is copied must have none
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                [template],
            )
            connection.execute(f"CREATE DATABASE {database} TEMPLATE {template}")
        apply_features()
    return state


Fresh = Callable[..., State]


@contextmanager
def entered(state: State) -> Iterator[State]:
    """Enter a state whose MLflow has no server: its artefacts go to the working directory."""
    with pytest.MonkeyPatch.context() as patch, state.entered():
        patch.chdir(state.home)
        yield state


@contextmanager
def running_api(state: State) -> Iterator[str]:
    """Run the API on a state; its address is in the state's environment, too."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    state.environment["CHURN_API_URL"] = url
    command = http_command("api.main:app", "127.0.0.1", port)
    with (state.home / "api.log").open("wb") as log:
        environment = {**os.environ, **state.environment}
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    deadline = time.monotonic() + 600
    try:
        while not _live(url):
            assert server.poll() is None, (state.home / "api.log").read_text()
            assert time.monotonic() < deadline, (state.home / "api.log").read_text()
            time.sleep(0.05)
        yield url
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(300)


def records(state: State) -> list[Any]:
    """Return every run of the state's MLflow experiment, oldest first."""
    client = mlflow_client()
    experiment = client.get_experiment_by_name(state.environment["MLFLOW_EXPERIMENT"])
    assert experiment is not None
    return list(
        client.search_runs(
            [experiment.experiment_id],
            order_by=["attributes.start_time ASC"],
            max_results=1000,
        )
    )


def versions() -> dict[int, Any]:
    """Return every registered version by its number, with its tags."""
    client = mlflow_client()
    listed = client.search_model_versions(f"name = '{REGISTERED_MODEL}'")
    return {int(v.version): v for v in sorted(listed, key=lambda v: int(v.version))}


def champion_month() -> str | None:
    """Return the label period of the version that is served, if there is one."""
    from churn.model.champion import champion_version

    served = champion_version()
    return str(versions()[int(served)].tags["month"]) if served else None


def evaluations(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    """Return what the checks of a run said, by `asset.check`."""
    return {
        f"{e.asset_key.to_user_string()}.{e.check_name}": e
        for e in result.get_asset_check_evaluations()
    }


def forget_models() -> None:
    """Empty the model registry, which all states of one MLflow server share."""
    from mlflow.exceptions import MlflowException

    try:
        mlflow_client().delete_registered_model(REGISTERED_MODEL)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise


def scalar(query: Any, *values: Any) -> Any:
    with connect() as connection:
        row = connection.execute(query, values).fetchone()
    assert row is not None
    return row[0]


def _live(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/live", timeout=30).is_success
    except httpx.HTTPError:
        return False
