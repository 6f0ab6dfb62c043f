"""Where the bench works: a temporary folder with its own Postgres, MLflow server and API."""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from churn.database import connect
from churn.database.init import SERVICE_DATABASES, admit_readers, create_schema
from churn.population.base import SIZE
from churn.settings import Settings, get_settings
from churn.stack.parts import make_plan, prepare_dagster_home
from churn.stack.postgres import EmbeddedPostgres
from churn.stack.processes import LOOPBACK, free_port, stop
from churn.stack.record import StackRecord
from churn.stack.supervisor import StartedPart, exported
from feature_repo.store import apply_features


@dataclass(frozen=True)
class Sizes:
    """How much is measured, and how often.

    Attributes:
        full: measure every row at its full size, including peers that take minutes.
        months: how many are measured.
        base_users: users of the stages and the API.
        users: users of ingest and training set.
        runs: of each way.
        warm_ups: runs, and months, that are not counted.
        seconds: of each run of the load generator.
        seed: of the population.
    """

    full: bool = False
    months: int = 3
    base_users: int = SIZE
    users: int = 100_000
    runs: int = 5
    warm_ups: int = 1
    seconds: float = 2.0
    seed: int = 42


class World:
    """One Postgres server; each state is a folder and a database of its own on it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._server = EmbeddedPostgres(folder / "postgres")
        self._made: set[str] = set()
        self._started: dict[str, int] = {}
        self._ports = {"MLFLOW_PORT": str(free_port()), "API_PORT": str(free_port())}

    def __enter__(self) -> "World":
        (self._folder / "postgres").mkdir(parents=True)
        self._stack.enter_context(self._server)
        with exported(self._server.environment):
            for database in SERVICE_DATABASES:
                self._create(database)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def folder(self, name: str) -> Path:
        """Return a folder for generated input."""
        return self._folder / "input" / name

    @contextmanager
    def state(self, name: str, *, features: bool = False) -> Iterator[Settings]:
        """Set the environment to one state folder and its database, and restore it at the end.

        Args:
            name: of the folder and the database, which are created on first use, and stay.
            features: also register the Feast objects when they are created.
        """
        home = self._folder / name
        with exported(
            self._server.environment
            | self._ports
            | {
                "CHURN_HOME": str(home),
                "POSTGRES_DB": f"bench_{name}",
                "DAGSTER_HOME": str(home / "dagster"),
                "PGSSLMODE": "disable",
                "MLFLOW_TRACKING_URI": f"http://{LOOPBACK}:{self._ports['MLFLOW_PORT']}",
                "MLFLOW_EXPERIMENT": f"bench_{name}",
                "CHURN_API_URL": f"http://{LOOPBACK}:{self._ports['API_PORT']}",
            }
        ):
            if name not in self._made:
                home.mkdir()
                self._create(get_settings().postgres_db)
                with connect() as connection:
                    create_schema(connection)
                if features:
                    apply_features()
                    admit_readers()
                self._made.add(name)
            yield get_settings()

    @contextmanager
    def served(self) -> Iterator[int]:
        """Open the state that MLflow and the API serve from, and yield the API's process id."""
        with self.state("served", features=True) as settings:
            prepare_dagster_home(settings.home)
            self.start("init-mlflow")
            self.start("mlflow")
            yield self.start("api")

    def _create(self, database: str) -> None:
        with psycopg.connect(get_settings().dsn("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))

    def start(self, name: str) -> int:
        """Start a part of the stack in the current state, as `churn up` does, unless it runs.

        Returns:
            Its process id, once it is healthy or, if it is a step, has ended.
        """
        if name not in self._started:
            plan, home = make_plan(StackRecord()), get_settings().home
            started = StartedPart(plan.parts[name], home, plan.environment)
            self._stack.callback(stop, home, (name,), signal.SIGTERM)
            while not started.is_well():
                time.sleep(0.1)
            self._started[name] = started.process.pid
        return self._started[name]
