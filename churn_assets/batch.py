"""Drops through the whole graph: deliver, close, train, score; what `churn run` does."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from churn.contract.tables import LABELS
from churn.database import connect, lock
from churn.deliveries import accepted, deliver, find_drops
from churn.errors import ChurnError
from churn.intake import BATCH_LOCK
from churn.model.monthly import trained_models
from churn.months import Month
from churn.settings import get_settings
from churn_assets.run import JobResult, instance, run_job

STAGES = ("deliver", "month_close", "train_month", "score_month")
OnProgress = Callable[[str, int, int, str], None]  # stage, months done, months due, what is at work


@dataclass
class RunOutcome:
    """What a run over many months did."""

    months: list[Month] = field(default_factory=list)
    jobs: list[JobResult] = field(default_factory=list)
    models: list[dict[str, Any]] = field(default_factory=list)
    waiting: list[Month] = field(default_factory=list)  # months whose labels have not arrived
    seconds: dict[str, float] = field(default_factory=dict)  # per stage

    @property
    def succeeded(self) -> bool:
        """Every job ended well, and with it every blocking check and the smoke check."""
        return bool(self.jobs) and all(job.succeeded and not job.failures for job in self.jobs)


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
            "no drop of the months asked for" if found else "no month_NNN folder",
            where=str(drops),
            remedy="make some with `churn generate --out DIR`, or see README, 'Your own drops'",
        )
    return chosen


def run_months(drops: list[tuple[Month, Path]], on_progress: OnProgress) -> RunOutcome:
    """Deliver drops in the order of their months, then close, train and score each month.

    A month whose labels have not arrived is closed, served and scored; its model waits. Each month is
    scored by the release that was in force at its end, so it does not matter that scoring comes last.
    """
    with connect() as guard:
        lock(guard, BATCH_LOCK)  # the sensor launches nothing meanwhile
        return _run_months(drops, on_progress)


def _run_months(drops: list[tuple[Month, Path]], on_progress: OnProgress) -> RunOutcome:
    outcome = RunOutcome(months=[month for month, _ in drops])
    with _timed(outcome, "deliver"):
        for done, (month, path) in enumerate(drops):
            on_progress("deliver", done, len(drops), str(month))
            deliver(path, settings=get_settings(), now=datetime.now(UTC), month=month)
        on_progress("deliver", len(drops), len(drops), "")
    trainable = [month for month in outcome.months if accepted(month, LABELS)]
    outcome.waiting = [month for month in outcome.months if month not in trainable]
    with instance() as found:
        for stage, months in (
            ("month_close", outcome.months),
            ("train_month", trainable),
            ("score_month", outcome.months),
        ):
            with _timed(outcome, stage):
                for done, month in enumerate(months):
                    on_progress(stage, done, len(months), str(month))
                    outcome.jobs.append(run_job(stage, month, found))
                on_progress(stage, len(months), len(months), "")
    outcome.models = [model.as_row() for month in trainable for model in trained_models(month)]
    return outcome


@contextmanager
def _timed(outcome: RunOutcome, stage: str) -> Iterator[None]:
    """Add the seconds of a block to the outcome."""
    started = time.perf_counter()
    yield
    outcome.seconds[stage] = time.perf_counter() - started
