"""A service that grows under a running system: what the process of the grown contract does, step by step.

Run as `python -m tests.kit.growing_service DROPS`; the environment names state, MLflow and contract. What was
seen goes to standard output, as one JSON object.
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
import yaml

from churn.contract.in_force import CONTRACT, DEFAULT_SERVICE, LABELS, VIEWS
from churn.deliveries import deliver
from churn.model.train import challenger, train_models, trained_models
from churn.monitoring.calibrate import calibrate
from churn.monitoring.watch import watch_drift
from churn.months import Month
from churn.promotion import by_hand, ledger
from churn.promotion.cards import write_missing_cards
from churn.promotion.decide import follow_ledger, take_due_decisions
from churn.promotion.registry import mark_checked
from churn.scoring.actions import list_actions
from churn.scoring.scores import active_users, features_of, score_month
from churn.settings import default_contract
from churn.training.dataset import build_training_set, training_set_path
from churn.verification.replay import replay
from churn.warehouse.raw import load_raw
from churn.warehouse.snapshots import build_snapshot
from tests.kit.close_month import close
from tests.kit.quick_training import fit_small_models
from tests.kit.states import NOW, State, running_api
from tests.kit.waiting import until

COLUMN = "live_hours_30d"
JANUARY, FEBRUARY, MARCH, APRIL, MAY = (Month.parse(f"2024-0{n}") for n in range(1, 6))
USER = "7590-VHVEG"
TOP = len(DEFAULT_SERVICE.features)
# What StreamFlow's own contract has, and what comes of one entry more.
OLD = default_contract().newest(DEFAULT_SERVICE.name)
NEW = f"{OLD.name}_v{OLD.version + 1}"


def write_grown_contract(path: Path) -> Path:
    """Write StreamFlow's contract with one entry more."""
    document = yaml.safe_load(default_contract().text)
    document["tables"]["usage_agg_30d"]["columns"][COLUMN] = {
        "type": "float", "max": 744, "since": OLD.version + 1, "optional": True,
        "description": "hours of live events in the last 30 days",
    }  # fmt: skip
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return path


def grow(drop: Path) -> None:
    """Give a drop the new column: whoever is about to leave watches hardly any live event."""
    usage = pd.read_csv(drop / "usage_agg_30d.csv", dtype=str, keep_default_na=False)
    random = np.random.default_rng(int(drop.name[-3:]))
    hours = random.gamma(4.0, 5.0, len(usage))
    if (drop / "labels.csv").exists():
        labels = pd.read_csv(drop / "labels.csv", dtype=str).set_index("user_id")["churn_label"]
        hours[labels.reindex(usage["user_id"]).eq("True").to_numpy()] /= 8
    usage.assign(**{COLUMN: [f"{each:.2f}" for each in hours]}).to_csv(
        drop / "usage_agg_30d.csv", index=False, lineterminator="\n"
    )


def training_set(month: Month) -> dict[str, Any]:
    """Build a month's training set, perhaps again; return what it has, and whether Postgres agrees."""
    training = build_training_set(month)
    replayed = replay(month, training.rows)
    return {
        "fingerprint": training.fingerprint,
        "features": training.features,
        "contract": training.contract,
        "mismatches": replayed.mismatches,
        "users_replayed": replayed.users,
    }


def correct(drop: Path) -> dict[str, Any]:
    """Deliver a month again, with other fees, and close it; return its files' states and what is served."""
    corrected = drop.parent.parent / "corrected" / drop.name
    shutil.copytree(drop, corrected)
    file = corrected / "subscriptions.csv"
    rows = pd.read_csv(file, dtype=str, keep_default_na=False)
    rows.assign(monthly_fee="77.5").to_csv(file, index=False, lineterminator="\n")
    outcome = deliver(corrected, now=NOW)
    month = FEBRUARY if drop.name == "month_001" else APRIL
    close(month)
    fees = features_of(month, VIEWS, active_users(month))["monthly_fee"].unique().to_pylist()
    return {
        "states": sorted({file.state for file in outcome.files}),
        "fees": fees,
        "set": training_set(month)["fingerprint"],
    }


def train(month: Month) -> dict[str, Any]:
    """Do what `train_month` does; return the set and the services of the models, the challenger's last."""
    load_raw(month, LABELS)
    build_snapshot(month, LABELS)
    training = training_set(month)
    train_models(month)
    mark_checked(month)
    best = challenger(month)
    assert best is not None
    services = [*(model.service for model in trained_models(month)), best.service]
    return {"set": training, "services": services}


def score(month: Month) -> dict[str, Any]:
    """Score a month and list whom to call; return by which release, and what came of it."""
    scored, actions = score_month(month), list_actions(month)
    assert scored.release is not None
    return {
        "service": scored.release.service,
        "month": str(scored.release.month),
        "rows": scored.rows.num_rows,
        "fingerprint": scored.fingerprint,
        "actions": actions.fingerprint,
        "explained": sum(bool(row["reason_1"]) for row in actions.rows),
        "about_the_column": sum("live events" in str(row) for row in actions.rows),
    }


def decide(month: Month) -> list[dict[str, Any]]:
    """Take the decisions that are due; return their outcomes."""
    taken = take_due_decisions(month)
    return [
        {"month": str(entry.month), "outcome": entry.outcome, "problem": entry.evidence["problem"]}
        for entry in taken.entries
    ]


def drift(month: Month) -> dict[str, Any]:
    """Watch a month; return the columns that were compared and those on a provisional threshold."""
    watched = watch_drift(month).drift
    assert watched is not None
    return {"columns": len(watched.columns), "provisional": watched.provisional}


def sets(*months: Month) -> dict[str, str]:
    """Return the sha256 of the files of training sets."""
    return {
        str(month): hashlib.sha256(training_set_path(month).read_bytes()).hexdigest()
        for month in months
    }


def before(drops: list[Path]) -> dict[str, Any]:
    """Put January and February through a system that has never heard of the column."""
    for drop in drops[:2]:
        deliver(drop, now=NOW)
    for month in (JANUARY, FEBRUARY):
        close(month)
    trained = {str(month): train(month) for month in (JANUARY, FEBRUARY)}
    decisions = [entry for month in (JANUARY, FEBRUARY) for entry in decide(month)]
    return {
        "trained": trained,
        "decisions": decisions,
        "february": score(FEBRUARY),
        "sets": sets(JANUARY, FEBRUARY),
        "release": in_force(),
    }


def in_force() -> str:
    release = ledger.release_in_force()
    assert release is not None
    return release.release_id


@contextmanager
def answering() -> Iterator[Any]:
    """Run the API; yields what asks it for one user until a release of a version answers."""
    home = Path(os.environ["CHURN_HOME"])
    with running_api(State({"CHURN_HOME": str(home)})) as url, httpx.Client(timeout=120) as client:

        def ask(service: str) -> dict[str, Any]:
            follow_ledger()
            answers: list[dict[str, Any]] = []

            def answered() -> bool:
                answer = client.post(f"{url}/predict", json={"user_id": USER})
                answers.append({"status": answer.status_code, **answer.json()})
                return answers[-1].get("feature_service") == service

            until(answered)
            last = answers[-1]
            explained = client.post(f"{url}/explain", json={"user_id": USER, "top": TOP})
            features = client.get(f"{url}/features/{USER}").json()
            return {
                "statuses": sorted({each["status"] for each in answers}),
                "features_used": list(last["features_used"]),
                "explained": [reason["feature"] for reason in explained.json()["reasons"]],
                "features": [features["feature_service"], COLUMN in features["features"]],
                "health": client.get(f"{url}/health").json()["store"]["ready"],
            }

        yield ask


def after(drops: list[Path]) -> dict[str, Any]:
    """Go on under the grown contract, with what was there before and what comes in now."""
    from churn.database.init import prepare_schema
    from feature_repo.store import apply_features

    prepare_schema()
    apply_features()
    seen: dict[str, Any] = {"contract": CONTRACT.fingerprint, "release": in_force()}
    with answering() as ask:
        seen["old champion"] = ask(OLD.versioned_name)
        seen["february"] = score(FEBRUARY)
        seen["drift of february"] = drift(FEBRUARY)
        seen["rebuilt"] = {str(month): training_set(month) for month in (JANUARY, FEBRUARY)}
        seen["sets"] = sets(JANUARY, FEBRUARY)
        for drop in drops[2:]:
            deliver(drop, now=NOW)
        seen["decisions"], seen["trained"], seen["scored"] = [], {}, {}
        for month in (MARCH, APRIL, MAY):
            close(month)
            seen["scored"][str(month)] = score(month)
            if month != MAY:
                seen["trained"][str(month)] = train(month)
                seen["decisions"] += decide(month)
        seen["drift of april"] = drift(APRIL)
        seen["drift of may"] = drift(MAY)
        calibration = calibrate()
        seen["calibrated"] = {
            "months": len(calibration.months),
            "columns": sorted(calibration.turnover),
            "drift of may": drift(MAY),
        }
        seen["new champion"] = ask(NEW)
        seen["cards"] = [path.read_text(encoding="utf-8") for path in write_missing_cards()]
        seen["corrected"] = [correct(drop) for drop in (drops[1], drops[3])]
        seen["sets in the end"] = sets(JANUARY, FEBRUARY)
        by_hand.rollback(reason="tried", actor="test")
        seen["rolled back"] = ask(OLD.versioned_name)
        seen["after rollback"] = score(MAY)
        seen["release after rollback"] = in_force()
    seen["ledger is whole"] = ledger.verify().is_whole
    return seen


if __name__ == "__main__":
    folders = sorted(Path(sys.argv[1]).glob("month_*"))
    steps = before if CONTRACT.fingerprint == default_contract().fingerprint else after
    with pytest.MonkeyPatch.context() as patch:
        fit_small_models(patch)
        sys.stdout.write(json.dumps(steps(folders)) + "\n")
