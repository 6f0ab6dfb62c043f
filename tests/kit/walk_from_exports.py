"""A walk from exports to an answer, in a process of its own, since one process has one contract.

Run as `python -m tests.kit.walk_from_exports DROPS USER`, with the contract, an empty database and MLflow in
the environment; what came of it is printed as one line of JSON, behind whatever the stages print.
"""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import httpx
import psycopg
import pytest

from churn.contract.in_force import CONTRACT, SERVICE_BY_NAME
from churn.database import connect
from churn.database.init import prepare_schema
from churn.deliveries import find_drops
from churn.deliveries.ledger import accepted
from churn.settings import Settings, get_settings
from churn.training.dataset import read_training_set
from feature_repo.store import apply_features
from tests.kit.states import State, running_api, versions
from tests.kit.waiting import until

FULL_MODELS = "--full-models"
VARIABLES = ("CHURN_", "POSTGRES_", "MLFLOW_", "FEAST_")
_NUMBERS = itertools.count()


def walked(
    contract: Path | None,
    drops: Path,
    user: str,
    settings: Settings,
    mlflow_url: str,
    home: Path,
    *,
    has_full_models: bool = False,
) -> dict[str, Any]:
    """Walk in a process that has the contract; without one here, where StreamFlow's own is in force."""
    database = f"walk{os.getpid()}_{next(_NUMBERS)}"
    with psycopg.connect(settings.dsn("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {database}")
    environment = {
        **os.environ,
        "CHURN_CONTRACT": str(contract or ""),
        "CHURN_HOME": str(home),
        "POSTGRES_DB": database,
        "MLFLOW_TRACKING_URI": mlflow_url,
        "MLFLOW_EXPERIMENT": database,
    }
    if contract is None:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            get_settings.cache_clear()
            here = json.dumps(walk(drops, user, has_full_models=has_full_models), default=str)
        get_settings.cache_clear()
        return cast(dict[str, Any], json.loads(here))
    done = subprocess.run(
        [
            sys.executable,
            *("-m", "tests.kit.walk_from_exports", str(drops), user),
            *([FULL_MODELS] if has_full_models else []),
        ],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-5000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(told, dict)
    return told


def walk(drops: Path, user: str, *, has_full_models: bool = False) -> dict[str, Any]:
    """Deliver every drop, close, train and score its month, and ask the API for a user of the last one."""
    variables = {name: value for name, value in os.environ.items() if name.startswith(VARIABLES)}
    state = State(variables, has_full_models=has_full_models)
    with state.entered():
        prepare_schema()
        apply_features()
        months = []
        for month, drop in find_drops(drops):
            assert month is not None
            state.deliver(drop, month=month, history=True)
            months.append(month)
        labelled = [month for month in months if accepted(month, CONTRACT.labels)]
    with running_api(state) as url, state.entered():
        closed = {str(month): state.close(month) for month in months}
        trained = {str(month): state.train(month) for month in labelled}
        scored = {str(month): state.score(month) for month in months}
        with connect() as connection:
            in_force = connection.execute("SELECT FROM online.release_in_force").fetchall()
        if in_force:
            # The API looks for a new champion every few seconds, and takes some to load it.
            until(lambda: httpx.get(f"{url}/health/ready", timeout=60).status_code == 200)
        answer = httpx.post(f"{url}/predict", json={"user_id": user}, timeout=60)
        features = httpx.get(f"{url}/features/{user}", timeout=60)
        sets = [read_training_set(m) for m in labelled if trained[str(m)].succeeded]
    return {
        "failed": {
            f"{stage} {month}": [*job.failures, *_failed(job.checks)]
            for stage, jobs in (("close", closed), ("train", trained), ("score", scored))
            for month, job in jobs.items()
            if not job.succeeded or _failed(job.checks)
        },
        "labelled": [str(month) for month in labelled],
        "rows": [each.rows.num_rows for each in sets],
        "leavers": [sum(each.rows["churn_label"].to_pylist()) for each in sets],
        "services": [service.versioned_name for service in SERVICE_BY_NAME.values()],
        "models": sorted(
            [tags[name] for name in ("service", "month", "fingerprint", "onnx_sha256")]
            for tags in (version.tags for version in versions().values())
            # Others register in the same MLflow.
            if tags.get("fingerprint") in {each.fingerprint for each in sets}
        ),
        "predict": {"status": answer.status_code, **answer.json()},
        "features": {"status": features.status_code, **features.json()},
    }


def _failed(checks: dict[str, str]) -> list[str]:
    return [name for name, state in checks.items() if state == "failed"]


if __name__ == "__main__":
    _, folder, asked, *options = sys.argv
    told = walk(Path(folder), asked, has_full_models=FULL_MODELS in options)
    print(f"\n{json.dumps(told, default=str)}")  # noqa: T201
