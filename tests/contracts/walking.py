"""Starting a walk (walk.py) on a database of its own, under another contract in a process of its own."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest

from churn.settings import Settings, get_settings
from tests.contracts.walk import FULL_MODELS, walk

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
            *("-m", "tests.contracts.walk", str(drops), user),
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
