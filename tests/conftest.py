"""Fixtures that every area shares: one real Postgres, and per test a fresh database and state folder."""

import itertools
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import psycopg
import pytest
import stamina
from filelock import FileLock

import feature_repo  # noqa: F401  (before any test imports Feast, which is quicker after it)
from churn.settings import Settings, get_settings
from churn.stack.postgres import EmbeddedPostgres
from tests.kit.redis_servers import RedisServers, one_redis, redis_cluster
from tests.kit.seconds_by_folder import Ledger, folder_of
from tests.kit.servers import mlflow_server

_NUMBERS = itertools.count()
# Folders whose tests share what is dear to build: one worker runs all of such a folder.
_ONE_WORKER = ("whole/e2e", "whole/flow", "whole/simulation", "whole/compose", "bench")
# Of such a folder, files that share nothing with the others.
_APART = ("whole/e2e/test_07_demo",)
# What takes longest begins, so that at the end no worker is alone with it; what waits most comes before all.
_FIRST = (
    "whole/e2e",
    "whole/flow",
    "whole/e2e/test_07_demo",
    "whole/compose",
    "whole/contracts/test_reshaped",
    "whole/contracts/test_foreign",
    "whole/simulation",
    "bench",
)
# What `make test-quick` leaves out: folders that start services, and all that needs the MLflow server.
_SERVICES = {*_ONE_WORKER, "stack"}
_SERVICE_FIXTURES = {"mlflow_url"}
# How long one example takes says more of the machine than of the code.
hypothesis.settings.register_profile("churn", deadline=None)
hypothesis.settings.load_profile("churn")
REAL_DROP = Path(__file__).parents[2] / "shared" / "data" / "month_000"


def pytest_configure(config: pytest.Config) -> None:
    """Hear what ends a process; a run begun deaf to it would hand that on to all that it starts.

    A job in the background of a script is deaf to SIGINT, and Dagster, run in a process, makes it hear
    SIGTERM as it hears SIGINT.

    There is a worker for each core already: more threads of OpenMP would spin for one another's cores.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    config.pluginmanager.register(Ledger(config), "ledger of time")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def _group(file: Path) -> str:
    """Return what a file's tests are shared out with: their folder's, or each other."""
    folder, own = folder_of(file), f"{folder_of(file)}/{file.stem}"
    return folder if folder in _ONE_WORKER and own not in _APART else own


def _needs_services(item: pytest.Item) -> bool:
    fixtures = set(getattr(item, "fixturenames", ()))
    return folder_of(item.path) in _SERVICES or bool(fixtures & _SERVICE_FIXTURES)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest; files keep their order."""
    for item in items:
        if _needs_services(item):
            item.add_marker(pytest.mark.services)
    ranks = {name: rank for rank, name in enumerate(_FIRST)}
    items.sort(key=lambda item: ranks.get(_group(item.path), len(ranks)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Share the tests out by group."""
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group(config.rootpath / nodeid.partition("::")[0])

    return ByGroup(config, log)


@pytest.fixture(scope="session", autouse=True)
def _what_passes_is_tried_again_without_waiting() -> Iterator[None]:
    with stamina.set_testing(True, attempts=6, cap=True), pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
        patch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
        yield


@pytest.fixture(autouse=True)
def _no_dagster_instance_of_another_test() -> Iterator[None]:
    """Begin without one: contexts that end out of order leave a closed instance's storage behind."""
    if "dagster" not in sys.modules:
        yield
        return
    from dagster._core.storage.defs_state.base import set_defs_state_storage

    with set_defs_state_storage(None):
        yield


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), durable=False) as server:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in server.environment.items():
                patch.setenv(name, value)
            get_settings.cache_clear()
            with psycopg.connect(get_settings().dsn("postgres"), autocommit=True) as connection:
                connection.execute("CREATE DATABASE template_churn")
            from churn.database import connect
            from churn.database.migrate import bring_up

            with connect("template_churn") as connection:
                bring_up(connection)
        get_settings.cache_clear()
        yield server


@pytest.fixture(autouse=True)
def handlers_of_signals() -> Iterator[None]:
    """Put back what a command that was played in this process does at a signal."""
    before = {
        each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    yield
    for each, handler in before.items():
        if signal.getsignal(each) is not handler:
            signal.signal(each, handler)


@pytest.fixture
def settings(
    postgres: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Settings]:
    """Settings of a fresh database and an empty state folder; the environment says the same."""
    database = f"t{os.getpid()}_{next(_NUMBERS)}"
    chosen = {**postgres.environment, "CHURN_HOME": str(tmp_path), "POSTGRES_DB": database}
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    with psycopg.connect(get_settings().dsn("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {database} TEMPLATE template_churn")
    yield get_settings()
    get_settings.cache_clear()


@pytest.fixture(scope="session")
def real_drop() -> Path:
    if not REAL_DROP.is_dir():
        pytest.skip(f"the outside drop is not here: {REAL_DROP.name}")
    return REAL_DROP


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without content; all workers copy the same one, since it takes long to make."""
    root = tmp_path_factory.getbasetemp()
    file = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / "empty_mlflow.db"
    with FileLock(file.with_suffix(".lock")):
        if not file.exists():
            from mlflow.db import upgrade

            unfinished = file.with_suffix(".unfinished")
            unfinished.unlink(missing_ok=True)
            upgrade.callback(f"sqlite:///{unfinished}")
            unfinished.rename(file)
    return file


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServers]:
    """One Redis server for the whole session; each test empties it first."""
    with one_redis(tmp_path_factory.mktemp("redis")) as servers:
        yield servers


@pytest.fixture(scope="session")
def redis_cluster_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServers]:
    """A cluster of three Redis servers, likewise."""
    with redis_cluster(tmp_path_factory.mktemp("cluster")) as servers:
        yield servers


@pytest.fixture(scope="session")
def mlflow_url(tmp_path_factory: pytest.TempPathFactory, empty_mlflow: Path) -> Iterator[str]:
    """A real MLflow server for the whole session; a test keeps apart by its experiment."""
    folder = tmp_path_factory.mktemp("mlflow")
    shutil.copy(empty_mlflow, folder / "mlflow.db")
    with mlflow_server(folder) as url:
        yield url


@pytest.fixture
def no_champion(mlflow_url: str) -> str:
    """The MLflow server, where no version has the alias that an earlier test gave."""
    import mlflow

    from churn.contract.in_force import CHAMPION_ALIAS, REGISTERED_MODEL
    from churn.mlflow_client import load_request_headers

    load_request_headers()
    client = mlflow.MlflowClient(mlflow_url, mlflow_url)
    for model in client.search_registered_models(f"name = '{REGISTERED_MODEL}'"):
        if CHAMPION_ALIAS in model.aliases:
            client.delete_registered_model_alias(REGISTERED_MODEL, CHAMPION_ALIAS)
    return mlflow_url


@pytest.fixture
def mlflow_settings(
    settings: Settings, no_champion: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Settings]:
    """`settings`, with the MLflow server and an experiment of the test's own."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", no_champion)
    monkeypatch.setenv("MLFLOW_EXPERIMENT", settings.postgres_db)
    get_settings.cache_clear()
    yield get_settings()
    import mlflow

    while mlflow.active_run():
        mlflow.end_run()
