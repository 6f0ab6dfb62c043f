"""Failures planted at MLflow's border: a run that does not begin, a record that is not begun or not ended."""

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import dagster as dg
from hypothesis import strategies as st

from churn.database import connect
from churn.months import Month
from churn.promotion.ledger import entries, verify
from churn.schedule.due import JOBS, Due, Job, askable
from churn.training.dataset import read_training_set
from churn_assets.batch import run_due, work_off
from churn_assets.due import look_at
from churn_assets.jobs import CLOSE_KEYS, SCORE_KEYS, TRAIN_KEYS
from churn_assets.resources import mlflow_resource
from churn_assets.run import JobResult

ASSETS: dict[Job, list[str]] = {
    "month_close": CLOSE_KEYS,
    "train_month": TRAIN_KEYS,
    "score_month": SCORE_KEYS,
}
END_OF_TIME = dt.datetime.max.replace(tzinfo=dt.UTC)
When = Literal["before", "after"]


class Planted(Exception):
    """A failure that a test has planted: nothing is known of it, it is no error that passes by itself."""


@dataclass(frozen=True)
class Fault:
    """One failure: of a job before its first step, or of one of its assets before or after its work."""

    job: Job
    month: Month
    asset: str | None = None
    when: When = "before"


@dataclass
class Plan:
    """Faults still to come; each strikes once."""

    open: set[Fault]
    struck: list[Fault] = field(default_factory=list)

    def strike(self, fault: Fault) -> None:
        """Fail, if it is planted and has not struck yet."""
        if fault in self.open:
            self.open.remove(fault)
            self.struck.append(fault)
            raise Planted(f"planted: {fault}")


def faults(months: list[Month], labelled: list[Month]) -> st.SearchStrategy[list[Fault]]:
    """Draw one fault of each job and of each of its assets, each at some month."""

    def at(job: Job, asset: str | None) -> st.SearchStrategy[Fault]:
        chosen = labelled if job == "train_month" else months
        when = st.sampled_from(("before", "after") if asset else ("before",))
        return st.builds(Fault, st.just(job), st.sampled_from(chosen), st.just(asset), when)

    return st.tuples(*(at(job, asset) for job in JOBS for asset in (None, *ASSETS[job]))).map(list)


def mlflow_that_fails(plan: Plan) -> dg.ResourceDefinition:
    """Return the graph's MLflow resource, which fails as it is planted."""
    real = mlflow_resource()

    def build(context: dg.InitResourceContext) -> Iterator[Any]:
        assert context.run is not None
        job: Any = context.run.job_name
        month = Month.parse(context.run.tags["dagster/partition"])
        plan.strike(Fault(job, month))
        resource = real.resource_fn(context)
        tracking = next(resource)
        tracking.tracking_client = _Client(tracking.tracking_client, plan, job)
        yield tracking
        resource.close()

    return dg.ResourceDefinition(build, config_schema=real.config_schema)


class _Client:
    """MLflow's client, which fails to begin or to end the record of a materialization."""

    def __init__(self, client: Any, plan: Plan, job: Job) -> None:
        self._client, self._plan, self._job = client, plan, job
        self._records: dict[str, Fault] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def create_run(self, *args: Any, **more: Any) -> Any:
        tags = more.get("tags") or {}
        month = Month.parse(tags["partition"])
        self._plan.strike(Fault(self._job, month, tags["asset"], "before"))
        created = self._client.create_run(*args, **more)
        after = Fault(self._job, month, tags["asset"], "after")
        self._records[created.info.run_id] = after
        return created

    def set_terminated(self, run_id: str, status: str | None = None, **more: Any) -> Any:
        if status == "FINISHED" and run_id in self._records:
            self._plan.strike(self._records[run_id])
        return self._client.set_terminated(run_id, status, **more)


def work_until_nothing_is_due(
    instance: dg.DagsterInstance, pick: Callable[[range], int] | None = None
) -> list[JobResult]:
    """Ask for what the sensor would ask for, as if no time were to be waited, until there is nothing.

    Args:
        instance: the Dagster instance.
        pick: chooses the next one by its number; without it, all is run as the commands run it.
    """
    ended: list[JobResult] = []
    while pick is None and (again := list(work_off(instance))):
        ended += again
    if pick is None:
        return ended
    while asked := askable(look_at(instance), END_OF_TIME):
        numbers = range(len(asked))
        item: Due = asked[pick(numbers)]
        ended.append(run_due(item, instance))
        assert len(ended) < 500, item
    return ended


def content() -> dict[str, Any]:
    """Return what a state has come to, without what MLflow numbers in the order of registration."""
    queries = {
        "publications": "SELECT as_of, known_at, users, fingerprint FROM online.publications",
        "online": "SELECT user_id, as_of, known_at, monthly_fee FROM online.users",
        "score_runs": "SELECT as_of, known_at, release_id FROM churn_score_runs",
        "scores": "SELECT as_of, user_id, release_id, probability, rank, expected_profit, is_action"
        " FROM churn_scores",
        "actions": "SELECT as_of, user_id, treatment_group, reason_1 FROM action_list",
        "drift": "SELECT as_of, feature, release_id, distance, is_drifted FROM monitoring.feature_drift",
        "performance": "SELECT as_of, users, metric, release_id, estimated, realised, alarm"
        " FROM monitoring.model_performance",
    }
    rows: dict[str, Any] = {}
    with connect() as connection:
        for name, query in queries.items():
            rows[name] = sorted(map(repr, connection.execute(query).fetchall()))
    assert verify().is_whole
    rows["ledger"] = [
        {
            "kind": entry.kind,
            "outcome": entry.outcome,
            "month": entry.month,
            "decided_for": entry.decided_for,
            "champion": entry.champion,
            "challenger": entry.challenger,
            "release": entry.release_id,
            "reasons": entry.reasons,
            "evidence": _without_versions(entry.evidence),
            "supersedes": entry.supersedes,
        }
        for entry in entries()
    ]
    rows["training"] = {
        entry.month: read_training_set(entry.month).fingerprint
        for entry in entries()
        if entry.month and entry.is_judged
    }
    return rows


def _without_versions(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_versions(each) for k, each in value.items() if k != "version"}
    return value
