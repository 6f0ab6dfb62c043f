"""A walk from exports to an answer, in a process of its own, since one process has one contract.

Run as `python -m tests.contracts.walk DROPS USER`, with the contract, an empty database and MLflow in the
environment; what came of it is printed as one line of JSON, behind whatever the stages print.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import httpx

from churn.contract.in_force import CONTRACT, SERVICE_BY_NAME
from churn.database.init import prepare_schema
from churn.deliveries import find_drops
from churn.deliveries.ledger import accepted
from churn.training.dataset import read_training_set
from feature_repo.store import apply_features
from tests.flow.states import State, running_api, versions

FULL_MODELS = "--full-models"
VARIABLES = ("CHURN_", "POSTGRES_", "MLFLOW_", "FEAST_")


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
