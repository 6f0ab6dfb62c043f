"""What the HTTP sections share: a served month, an API that is ready, servers beside it, users to ask for."""

import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from bench.core import TO_TRAINING_SET
from bench.drops import base_drops
from bench.load import Load
from bench.rows import Spread
from bench.worker import Say, Worker
from bench.world import Sizes, World
from churn.contract.in_force import CHAMPION_ALIAS, DEFAULT_SERVICE, REGISTERED_MODEL
from churn.database import connect
from churn.errors import ChurnError
from churn.months import Month
from churn.settings import get_settings
from churn.stack.processes import LOOPBACK

CLIENTS, SAMPLE, READY_SECONDS = 16, 1000, 600
CEILING = "the load generator's ceiling"


def serve_a_month(world: World, sizes: Sizes, say: Say, worker: Worker) -> str:
    """Publish a month, make its baseline champion, and wait until the API serves it; return the version."""
    month, drop = base_drops(world, sizes)[0]
    for name, stage in TO_TRAINING_SET.items():
        say(f"{month}: {name}")
        worker.run(stage, month, drop)
    say("fitting the baseline")
    version = worker.run(promote_baseline, month)
    say(f"waiting for version {version}")
    url = f"{get_settings().smoke_url}/health"
    _until(lambda: _serves(url, version), f"{url} does not serve version {version}")
    return version


def promote_baseline(month: Month) -> str:
    """Fit and register the baseline of the rich service, and give it the alias, without the gate."""
    from churn.mlflow_client import mlflow_client
    from churn.model.tracking import log_model_run
    from churn.model.train import fit_baseline
    from churn.training.dataset import read_training_set

    training_set = read_training_set(month)
    fitted = fit_baseline(training_set.rows.to_pandas(), DEFAULT_SERVICE)
    tracked = log_model_run(fitted, month=month, fingerprint=training_set.fingerprint, lineage={})
    mlflow_client().set_registered_model_alias(REGISTERED_MODEL, CHAMPION_ALIAS, tracked.version)
    return tracked.version


def some_users(seed: int) -> list[str]:
    """Return users of the newest published month, in random order."""
    with connect() as connection:
        rows = connection.execute(
            "SELECT user_id FROM online.users WHERE as_of = (SELECT max(as_of) FROM online.users)"
            ' ORDER BY user_id COLLATE "C"'
        ).fetchall()
    users = [row[0] for row in rows]
    return random.Random(seed).sample(users, min(SAMPLE, len(users)))  # noqa: S311


@contextmanager
def server(
    name: str, command: Sequence[str], url: str, environment: Mapping[str, str] | None = None
) -> Iterator[int]:
    """Run another server until the block ends; yields its process id once `url` answers 200."""
    log = get_settings().home / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env={**os.environ, **(environment or {})},
            cwd=Path(__file__).parents[1],
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        _until(
            lambda: process.poll() is None and _answers(url),
            f"{name} does not start; see {log}",
            given_up=lambda: process.poll() is not None,
        )
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def require_success(loads: Mapping[str, Sequence[Load]]) -> None:
    """Raise ChurnError if any answer was not a 200."""
    for name, runs in loads.items():
        failed = [load.statuses for load in runs if set(load.statuses) != {httpx.codes.OK}]
        if failed:
            raise ChurnError(f"answers other than 200: {failed[0]}", where=name)


def p50(runs: Sequence[Load]) -> Spread:
    return Spread.of([load.p50_ms for load in runs])


def p99(runs: Sequence[Load]) -> Spread:
    return Spread.of([load.p99_ms for load in runs])


def per_second(runs: Sequence[Load]) -> Spread:
    return Spread.of([load.per_second for load in runs])


def local(port: int, path: str) -> str:
    """Return the address of a path of a server on this machine."""
    return f"http://{LOOPBACK}:{port}{path}"


def _serves(url: str, version: str) -> bool:
    health = httpx.get(url).json()
    return bool(health["ready"] and health["model"]["version"] == version)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _until(
    condition: Callable[[], bool], what: str, given_up: Callable[[], bool] = lambda: False
) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not condition():
        if given_up() or time.monotonic() > deadline:
            raise ChurnError(what)
        time.sleep(0.2)
