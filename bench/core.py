"""The work of a month as the assets call it, stage by stage, without Dagster and its MLflow records."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.graph import arrival
from churn.contract.in_force import TABLES, VIEWS
from churn.model.fitted import Fitted
from churn.model.tracking import LoggedModel
from churn.months import Month
from churn.settings import get_settings

EXAMPLE_USER, SMOKE_SAMPLE = "7590-VHVEG", 20  # as the graph's report and smoke check have them
Stage = Callable[[Month, Path], Any]
_fitted: dict[Month, dict[str, Fitted]] = {}  # from the models' stage to the search for leaks


def deliver_drop(month: Month, drop: Path) -> None:
    from churn.deliveries import deliver

    deliver(drop, settings=get_settings(), now=arrival(month), month=month)


def raw(month: Month, drop: Path) -> None:
    from churn.contract.in_force import USERS
    from churn.deliveries import in_force, read_accepted
    from churn.deliveries.oddities import oddities, oddities_beside
    from churn.deliveries.rules import Users
    from churn.fingerprint import ByUser
    from churn.warehouse.raw import load_raw

    delivered = in_force(month, USERS)
    assert delivered is not None
    users = Users.of(ByUser(read_accepted(delivered)))
    for table in TABLES:
        loaded = load_raw(month, table)
        oddities(table, loaded.by_user.rows, month)
        if table is not USERS:
            oddities_beside(users, table, loaded.by_user, month)


def snapshots(month: Month, drop: Path) -> None:
    from churn.warehouse.snapshots import build_snapshot

    for table in TABLES:
        build_snapshot(month, table)


def views(month: Month, drop: Path) -> None:
    from churn.lake.files import write_view
    from churn.warehouse.snapshots import current_rows

    for view in VIEWS:
        write_view(month, view)
        current_rows(month, view.table)


def online(month: Month, drop: Path) -> None:
    from churn.online.publish import publish
    from churn.online.read import online_state

    publish(month)
    online_state(month)


def parity(month: Month, drop: Path) -> None:
    from churn.verification import parity

    parity.parity(month)


def smoke(month: Month, drop: Path) -> None:
    from churn.verification.smoke import smoke_test

    smoke_test(SMOKE_SAMPLE)


def training_set(month: Month, drop: Path) -> None:
    from churn.training.dataset import build_training_set
    from churn.verification.replay import replay

    replay(month, build_training_set(month).rows)


def models(month: Month, drop: Path) -> None:
    from churn.model.train import train_models

    def keep(models: Sequence[LoggedModel]) -> None:
        _fitted[month] = {
            f"{model.fitted.kind.name} {number}": model.fitted
            for number, model in enumerate(models)
        }

    train_models(month, judge=keep)


def leaks(month: Month, drop: Path) -> None:
    from churn.verification.leaks import look_for_leaks

    look_for_leaks(month, _fitted.pop(month))


def decision(month: Month, drop: Path) -> None:
    from churn.promotion.cards import write_missing_cards
    from churn.promotion.decide import take_due_decisions
    from churn.promotion.registry import mark_checked

    mark_checked(month)
    take_due_decisions(fresh=month)
    write_missing_cards()


def scores(month: Month, drop: Path) -> None:
    from churn.scoring.scores import score_month

    score_month(month)


def action_list(month: Month, drop: Path) -> None:
    from churn.scoring.actions import list_actions

    list_actions(month)


def drift(month: Month, drop: Path) -> None:
    from churn.monitoring.watch import watch_drift

    watch_drift(month)


def performance(month: Month, drop: Path) -> None:
    from churn.monitoring.store import read_performance
    from churn.monitoring.tables import performance_png
    from churn.monitoring.watch import watch_performance

    watch_performance(month)
    if history := read_performance():
        performance_png(history)


def uplift(month: Month, drop: Path) -> None:
    from churn.scoring.uplift import record_uplift

    record_uplift(month)


def report(month: Month, drop: Path) -> None:
    from churn.report import write_report

    write_report(month, EXAMPLE_USER)


CLOSE: dict[str, Stage] = {
    "deliver": deliver_drop,
    "raw tables": raw,
    "snapshots": snapshots,
    "feature views": views,
    "online": online,
    "parity": parity,
    "smoke test": smoke,
}
TRAIN: dict[str, Stage] = {
    "training set, replayed": training_set,
    "models": models,
    "leaks": leaks,
    "decision": decision,
}
# What is there once a month is closed and its labels are joined; no model yet.
TO_TRAINING_SET = {
    name: stage for name, stage in CLOSE.items() if name not in ("parity", "smoke test")
} | {"training set": training_set}
SCORE: dict[str, Stage] = {
    "scores": scores,
    "action list": action_list,
    "drift": drift,
}
LOOK_BACK: dict[str, Stage] = {"performance": performance, "uplift": uplift, "report": report}
# As in the jobs: a month is looked back at once it is trained on, and again once it is scored.
STAGES = [
    (name, stage)
    for stages in (CLOSE, TRAIN, LOOK_BACK, SCORE, LOOK_BACK)
    for name, stage in stages.items()
]
