"""Drops through the whole graph: deliver, close, train, score; what `churn run` does."""

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
from churn.schedule.due import JOBS, Due, sentence, sentences
from churn.schedule.facts import BATCH_LOCK, delivered_months, read_facts
from churn.settings import get_settings
from churn_assets.due import look_at, work_off
from churn_assets.lane import Lane
from churn_assets.liveness import end_dead_runs
from churn_assets.run import JobResult, instance, run_job

STAGES = ("deliver", "month_close", "train_month", "score_month")
OnProgress = Callable[[str, int, int, str], None]  # stage, months done, months due, what is at work


@dataclass
class RunOutcome:
    """What a run over many months did."""

    months: list[Month] = field(default_factory=list)  # whose drops are here: these were processed
    # By the names of the drops that were not taken in: holes.
    refused: dict[str, Refusal] = field(default_factory=dict)
    jobs: list[JobResult] = field(default_factory=list)
    models: list[dict[str, Any]] = field(default_factory=list)
    waiting: list[Month] = field(default_factory=list)  # months whose labels have not arrived
    behind: list[str] = field(default_factory=list)  # what failed, and what waits behind it
    left: list[str] = field(default_factory=list)  # what was due and could not be done here
    seconds: dict[str, float] = field(default_factory=dict)  # of work per stage; stages overlap
    elapsed: float = 0.0  # seconds from the first delivery to the last score

    @property
    def succeeded(self) -> bool:
        """Every drop was taken in and every job ended well at last, with every blocking check."""
        return not self.refused and not self.failed and not self.left

    @property
    def failed(self) -> list[JobResult]:
        """The jobs that did not end well."""
        return [job for job in self.jobs if not job.succeeded or job.failures]


def chosen_drops(drops: Path, first: Month | None, last: Month | None) -> list[tuple[Month, Path]]:
    """Return the drops under a folder, from `first` to `last`, oldest first.

    Raises:
        ChurnError: there is none.
    """
    found = [(month, path) for month, path in find_drops(drops) if month is not None]
    chosen = [
        (month, path)
        for month, path in found
        if (first is None or month >= first) and (last is None or month <= last)
    ]
    if not chosen:
        raise ChurnError(
            "no drop of the months asked for" if found else "no drop says its month here",
            where=str(drops),
            remedy="make some with `churn generate --out DIR`, or see README, 'Your own drops'",
        )
    return chosen


def run_months(drops: list[tuple[Month, Path]], on_progress: OnProgress) -> RunOutcome:
    """Deliver drops in the order of their months, then close, train and score each month.

    A month whose labels have not arrived is closed, served and scored; its model waits. Each month is
    scored by the release that was in force at its end, so it does not matter that scoring comes last.
    A refused drop leaves a hole in the months; later ones do not wait for it, as with a drop that is late.
    """
    with connect() as guard:
        lock(guard, BATCH_LOCK)  # the sensor launches nothing meanwhile
        return _run_months(drops, on_progress)


def run_due_months(first: Month | None, last: Month | None, on_progress: OnProgress) -> RunOutcome:
    """Do what is due of months that were delivered before, and what waited behind them.

    Args:
        first: the first month; the oldest one delivered if None.
        last: the last month; the newest one delivered if None.
        on_progress: told the stage, months done and months due.

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
        with instance() as found:
            end_dead_runs(found)
            for done, job in enumerate(_healing(months, found, by_hand=True)):
                outcome.jobs = ended_at_last(outcome.jobs, [job])
                on_progress("again", done + 1, done + 2, f"{job.job} {job.month}")
            items = look_at(found)
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
    with instance() as found, Lane() as lane:
        end_dead_runs(found)
        outcome.jobs = _in_two_lanes(outcome.months, trainable, found, lane, on_progress)
        outcome.jobs = ended_at_last(outcome.jobs, _healing(outcome.months, found))
        outcome.behind = sentences(look_at(found))
    for job in outcome.jobs:
        outcome.seconds[job.job] = outcome.seconds.get(job.job, 0.0) + job.seconds
    outcome.elapsed = time.perf_counter() - started
    outcome.models = [model.as_row() for month in trainable for model in trained_models(month)]
    return outcome


def _healing(
    months: Collection[Month], found: dg.DagsterInstance, *, by_hand: bool = False
) -> Iterator[JobResult]:
    """Ask once more for what failed, then do what waited behind it, the scores of other months included.

    What fails again is left to the sensor of a stack that is up, which asks further and further apart.
    """

    def is_ours(item: Due) -> bool:
        return item.month in months or item.stage == "score_month"

    return work_off(found, is_ours, given_up_too=by_hand)


def ended_at_last(jobs: Iterable[JobResult], again: Iterable[JobResult]) -> list[JobResult]:
    """Return how each job of each month ended the last time; what was not done again stays as it was."""
    ended = {(job.job, job.month): job for job in jobs}
    for job in again:
        before = ended.get((job.job, job.month))
        ended[job.job, job.month] = job.after(before) if before else job
    return list(ended.values())


def _in_two_lanes(
    months: list[Month],
    trainable: list[Month],
    found: dg.DagsterInstance,
    lane: Lane,
    on_progress: OnProgress,
) -> list[JobResult]:
    """Train here, month after month, while the lane closes months ahead of it and scores those behind.

    The first month is closed here: the lane takes seconds to come to life, and training waits for a month.
    What depends on an order keeps it: a month is trained on once it is closed, and scored once every
    earlier month has been decided on. Versions are numbered as if months ran one by one.
    """
    close, score = (
        _Bar("month_close", months, on_progress),
        _Bar("score_month", months, on_progress),
    )
    closed = [run_job("month_close", months[0], found)]
    close.advance()
    closing = [lane.submit("month_close", month, close.advance) for month in months[1:]]
    scoring: list[Future[JobResult]] = []
    training: list[JobResult] = []
    bar = _Bar("train_month", trainable, on_progress)
    for number, month in enumerate(months):
        if number:
            closed.append(closing[number - 1].result())
        if not closed[number].succeeded:
            look_at(found)  # the reports of the months after it tell of it
        if month in trainable and closed[number].succeeded:
            training.append(run_job("train_month", month, found))
            bar.advance()
        if closed[number].succeeded:
            scoring.append(lane.submit("score_month", month, score.advance))
    return [*closed, *training, *(job.result() for job in scoring)]


class _Bar:
    """How many months of a stage are done; the next one is shown as at work."""

    def __init__(self, stage: str, months: list[Month], on_progress: OnProgress) -> None:
        self._stage, self._months, self._move = stage, months, on_progress
        self._done = -1
        self.advance()

    def advance(self) -> None:
        self._done += 1
        at = str(self._months[self._done]) if self._done < len(self._months) else ""
        self._move(self._stage, self._done, len(self._months), at)
