"""Drops through the whole graph, as `churn run` does it: deliver, close, train, score."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from churn.database import connect, lock
from churn.deliveries import Refusal, deliver, find_drops
from churn.deliveries.drops import name_of_drop
from churn.errors import ChurnError
from churn.model.train import trained_models
from churn.months import Month
from churn.schedule.due import JOBS, Due, askable
from churn.schedule.facts import BATCH_LOCK, delivered_months, read_facts
from churn.schedule.sentences import sentence, sentences
from churn.settings import get_settings
from churn_assets.due import look_at, run_tags
from churn_assets.lane import Lane
from churn_assets.liveness import end_dead_runs
from churn_assets.run import JobResult, instance, run_job

_END_OF_TIME = datetime.max.replace(tzinfo=UTC)
# Takes the stage, the months done, the months due, and what is being worked on.
OnProgress = Callable[[str, int, int, str], None]


@dataclass
class RunOutcome:
    """The result of a run over many months.

    Attributes:
        months: those whose drops are here, and which were therefore processed.
        refused: why drops were not taken in, by the drop's name.
        jobs: how each job of each month ended.
        models: the registered models, as `churn run --json` shows them.
        waiting: months whose labels have not arrived.
        behind: sentences about what failed, and what waits behind it.
        left: sentences about what was due and could not be done here.
        seconds: of work per stage; stages overlap.
        elapsed: seconds from the first delivery to the last score.
    """

    months: list[Month] = field(default_factory=list)
    refused: dict[str, Refusal] = field(default_factory=dict)
    jobs: list[JobResult] = field(default_factory=list)
    models: list[dict[str, Any]] = field(default_factory=list)
    waiting: list[Month] = field(default_factory=list)
    behind: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    elapsed: float = 0.0

    @property
    def succeeded(self) -> bool:
        """Whether every drop was taken in, and every job succeeded in the end, with every blocking check."""
        return not self.refused and not self.failed and not self.left

    @property
    def failed(self) -> list[JobResult]:
        """The jobs that did not succeed."""
        return [job for job in self.jobs if not job.succeeded or job.failures]


def chosen_drops(drops: Path, first: Month | None, last: Month | None) -> list[tuple[Month, Path]]:
    """Return the drops under a folder, from `first` to `last`, oldest first.

    Raises:
        ChurnError: there is none.
    """
    drops_of_months = [(month, path) for month, path in find_drops(drops) if month is not None]
    chosen = [
        (month, path)
        for month, path in drops_of_months
        if (first is None or month >= first) and (last is None or month <= last)
    ]
    if not chosen:
        raise ChurnError(
            "no drop of the months asked for" if drops_of_months else "no drop says its month here",
            where=str(drops),
            remedy="make some with `churn generate --out DIR`, or see README, 'Your own drops'",
        )
    return chosen


def run_months(drops: list[tuple[Month, Path]], on_progress: OnProgress) -> RunOutcome:
    """Deliver drops in the order of their months, then close, train and score each month.

    A month whose labels have not arrived is closed, served and scored; its model waits. Each month is
    scored by the release that was in force at its end, so it does not matter that scoring comes last.
    A refused drop leaves a gap in the months, for which later ones do not wait, as with a late drop.
    """
    with connect() as guard:
        # While it is held, the sensor launches nothing.
        lock(guard, BATCH_LOCK)
        return _run_months(drops, on_progress)


def run_due_months(first: Month | None, last: Month | None, on_progress: OnProgress) -> RunOutcome:
    """Do what is due for months that were delivered before, and what waited behind them.

    Args:
        first: the first month; None takes the oldest one delivered.
        last: the last month; None takes the newest one delivered.
        on_progress: called at each step.

    Raises:
        ChurnError: nothing of these months was delivered.
    """
    with connect() as guard:
        lock(guard, BATCH_LOCK)
        months = [
            month
            for month in delivered_months()
            if (first is None or month >= first) and (last is None or month <= last)
        ]
        if not months:
            raise ChurnError(
                "no month asked for was delivered before",
                remedy="name a folder of drops: churn run --drops DIR",
            )
        outcome = RunOutcome(months=months)
        labelled = read_facts().trainings
        outcome.waiting = [month for month in months if month not in labelled]
        started = time.perf_counter()
        with instance() as dagster:
            end_dead_runs(dagster)
            for done, job in enumerate(_healing(months, dagster, by_hand=True)):
                outcome.jobs = ended_at_last(outcome.jobs, [job])
                on_progress("again", done + 1, done + 2, f"{job.job} {job.month}")
            items = look_at(dagster)
            outcome.behind = sentences(items)
            outcome.left = [
                sentence(item, items)
                for item in items
                if item.month in months
                and item.state in ("due", "under way")
                and item.stage in JOBS
            ]
        on_progress("again", len(outcome.jobs), len(outcome.jobs), "")
        outcome.elapsed = time.perf_counter() - started
        outcome.models = [m.as_row() for month in months for m in trained_models(month)]
    return outcome


def _run_months(drops: list[tuple[Month, Path]], on_progress: OnProgress) -> RunOutcome:
    outcome = RunOutcome()
    started = time.perf_counter()
    for done, (month, path) in enumerate(drops):
        on_progress("deliver", done, len(drops), str(month))
        try:
            deliver(path, settings=get_settings(), now=datetime.now(UTC), month=month)
        except Refusal as refusal:
            outcome.refused[name_of_drop(month, path, drops)] = refusal
        else:
            outcome.months.append(month)
    on_progress("deliver", len(drops), len(drops), "")
    outcome.seconds["deliver"] = time.perf_counter() - started
    if not outcome.months:
        return outcome
    facts = read_facts()
    outcome.waiting = [month for month in outcome.months if month not in facts.trainings]
    not_to_train = {*outcome.waiting, *facts.late}
    trainable = [month for month in outcome.months if month not in not_to_train]
    with instance() as dagster, Lane() as lane:
        end_dead_runs(dagster)
        outcome.jobs = _in_two_lanes(outcome.months, trainable, dagster, lane, on_progress)
        outcome.jobs = ended_at_last(outcome.jobs, _healing(outcome.months, dagster))
        outcome.behind = sentences(look_at(dagster))
    for job in outcome.jobs:
        outcome.seconds[job.job] = outcome.seconds.get(job.job, 0.0) + job.seconds
    outcome.elapsed = time.perf_counter() - started
    outcome.models = [model.as_row() for month in trainable for model in trained_models(month)]
    return outcome


def _healing(
    months: Collection[Month], dagster: dg.DagsterInstance, *, by_hand: bool = False
) -> Iterator[JobResult]:
    """Do once more what failed, then what waited behind it, including the scores of other months.

    What fails again is left to the sensor of a running stack, which requests it at growing intervals.
    """

    def is_ours(item: Due) -> bool:
        return item.month in months or item.stage == "score_month"

    return work_off(dagster, is_ours, given_up_too=by_hand)


def ended_at_last(jobs: Iterable[JobResult], again: Iterable[JobResult]) -> list[JobResult]:
    """Return how the last attempt at each job of each month ended; those of `again` are the later ones."""
    ended = {(job.job, job.month): job for job in jobs}
    for job in again:
        before = ended.get((job.job, job.month))
        ended[job.job, job.month] = job.after(before) if before else job
    return list(ended.values())


def _in_two_lanes(
    months: list[Month],
    trainable: list[Month],
    dagster: dg.DagsterInstance,
    lane: Lane,
    on_progress: OnProgress,
) -> list[JobResult]:
    """Train here, month after month, while the lane closes the months ahead and scores those behind.

    The first month is closed here, since the lane takes seconds to start and training waits for a month.
    Where order matters it is kept: a month is trained on after it is closed, and scored after every earlier
    month has been decided on. Versions are numbered as if months ran one by one.
    """
    close, score = (
        _Bar("month_close", months, on_progress),
        _Bar("score_month", months, on_progress),
    )
    closed = [run_job("month_close", months[0], dagster)]
    close.advance()
    closing = [lane.submit("month_close", month, close.advance) for month in months[1:]]
    scoring: list[Future[JobResult]] = []
    training: list[JobResult] = []
    bar = _Bar("train_month", trainable, on_progress)
    for number, month in enumerate(months):
        if number:
            closed.append(closing[number - 1].result())
        # Stores the failure, so that the reports of the months after it can show it.
        if not closed[number].succeeded:
            look_at(dagster)
        if month in trainable and closed[number].succeeded:
            training.append(run_job("train_month", month, dagster))
            bar.advance()
        if closed[number].succeeded:
            scoring.append(lane.submit("score_month", month, score.advance))
    return [*closed, *training, *(job.result() for job in scoring)]


def run_due(item: Due, instance: dg.DagsterInstance) -> JobResult:
    """Run what is due in this process, leaving out what an earlier attempt has made."""
    return run_job(item.stage, item.month, instance, tags=run_tags(item), assets=item.left or None)


def work_off(
    instance: dg.DagsterInstance,
    may: Callable[[Due], bool] = lambda item: True,
    *,
    given_up_too: bool = False,
) -> Iterator[JobResult]:
    """Run what is due in this process, one after another, until everything has been tried.

    Nothing is tried more than once, and a failure is not waited for: that is up to the sensor.

    Args:
        instance: the Dagster instance.
        may: returns whether an item may be run.
        given_up_too: also try what was given up, for a person who has fixed the cause.
    """
    tried: set[tuple[str, Month, str]] = set()
    while True:
        items = look_at(instance)
        chosen = [
            item
            for item in askable(items, _END_OF_TIME, given_up_too=given_up_too)
            if may(item) and (item.stage, item.month, item.version) not in tried
        ]
        if not chosen:
            return
        tried.add((chosen[0].stage, chosen[0].month, chosen[0].version))
        yield run_due(chosen[0], instance)


class _Bar:
    """The progress of one stage: how many months are done, and which one is being worked on."""

    def __init__(self, stage: str, months: list[Month], on_progress: OnProgress) -> None:
        self._stage, self._months, self._move = stage, months, on_progress
        self._done = -1
        self.advance()

    def advance(self) -> None:
        self._done += 1
        at = str(self._months[self._done]) if self._done < len(self._months) else ""
        self._move(self._stage, self._done, len(self._months), at)
