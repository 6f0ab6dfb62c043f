"""Months as they come: each drop through the graph when it arrives, and what was noticed and decided."""

import datetime as dt
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import dagster as dg

from churn.contract.in_force import LABELS
from churn.deliveries import deliver
from churn.months import Month
from churn.population.drops import correct_some_fees, write_drops
from churn.population.scenario import Arrival, Troubles
from churn.promotion.entry import decisions, sentence
from churn.promotion.ledger import entries
from churn.schedule.due import sentences
from churn.schedule.facts import late_months, trainable_months
from churn.settings import get_settings
from churn_assets.batch import ended_at_last
from churn_assets.due import look_at, work_off
from churn_assets.run import JobResult, instance, run_job

ALARMS = ("feature_drift.no_drift", "model_performance.as_estimated")  # their warnings count
OnProgress = Callable[[str, int, int, str], None]


@dataclass(frozen=True)
class Played:
    """The timeline, and what nobody had planted."""

    rows: "list[Happened]"
    failed: list[JobResult]  # at the end: what was mended meanwhile is not among them
    behind: list[str]  # what waits behind it


@dataclass(frozen=True)
class Happened:
    """One month of the timeline: four names, as `churn simulate --json` writes them."""

    month: str
    planted: str  # empty where nothing was
    detected_by: str  # empty where nothing was noticed
    decision: str  # of the ledger, on the labels of this month


def simulate(
    folder: Path, troubles: Troubles, *, users: int, seed: int, on_progress: OnProgress
) -> Played:
    """Play the months in the empty state of the settings: a row per month, and what failed unplanned.

    What failed is asked for once more at every month end, as the sensor would have done by then.

    Args:
        folder: where the drops are written.
        troubles: what is planted.
        users: per month.
        seed: of the population.
        on_progress: told the stage, months done and months due.
    """
    first = get_settings().first_month
    months = troubles.months
    on_progress("generate", 0, months, "")
    drops = write_drops(
        folder, first=first, users=users, months=months, seed=seed, scenario=troubles.scenario
    )
    on_progress("generate", months, months, "")
    noticed: dict[Month, list[str]] = defaultdict(list)
    jobs: list[JobResult] = []
    with instance() as found:
        for number in range(months):
            on_progress("simulate", number, months, str(first.shift(number)))
            for month, what in _month_end(first, number, drops, troubles, found, jobs):
                if what not in noticed[month]:
                    noticed[month].append(what)
        behind = sentences(look_at(found))
    on_progress("simulate", months, months, "")
    decided = decisions(entries())
    rows = []
    for number in range(months):
        month = first.shift(number)
        rows.append(
            Happened(
                str(month),
                troubles.planted.get(number, ""),
                ", ".join(noticed[month]),
                sentence(decided.get(month)),
            )
        )
    failed = [job for job in ended_at_last(jobs, ()) if not job.succeeded or job.failures]
    return Played(rows, failed, behind)


def as_json(rows: list[Happened]) -> list[dict[str, str]]:
    """Return the timeline as JSON knows it."""
    return [asdict(row) for row in rows]


def _month_end(
    first: Month,
    number: int,
    drops: list[Path],
    troubles: Troubles,
    found: dg.DagsterInstance,
    jobs: list[JobResult],
) -> Iterator[tuple[Month, str]]:
    """Yield what is noticed, and of which month, when month `number` has closed."""
    closed = first.shift(number)
    now = closed.as_of + dt.timedelta(hours=6)
    due = []
    for arrival in troubles.arrivals(number):
        month = first.shift(arrival.number)
        with _as_it_comes(drops[arrival.number], arrival) as folder:
            outcome = deliver(folder, now=now, month=month)
        if any(file.state == "corrected" for file in outcome.files):
            yield month, "deliveries: corrected"
        if any(file.delivery.known_at >= now for file in outcome.files):
            yield month, f"deliveries: known at {now:%F}"
        if arrival.how != "labels":
            due.append(("month_close", month))
    for month in late_months(closed):
        yield month, "late_drops"
    ended = [run_job(job, month, found) for job, month in due]
    before = closed.shift(-1)
    if before in trainable_months() and number - 1 != troubles.late:
        ended.append(run_job("train_month", before, found))
    if ("month_close", closed) in due:
        ended.append(run_job("score_month", closed, found))
    jobs[:] = ended_at_last(jobs, ended)
    if any(not job.succeeded for job in jobs):
        again = list(work_off(found, lambda item: item.month <= closed))
        jobs[:] = ended_at_last(jobs, again)
        ended += again
    for job in ended:
        yield from _alarms(job)


def _alarms(job: JobResult) -> Iterator[tuple[Month, str]]:
    for name, state in job.checks.items():
        if state == "failed" or (state == "warned" and name in ALARMS):
            yield job.month, name
    if not job.succeeded:
        yield job.month, f"{job.job} failed"


@contextmanager
def _as_it_comes(drop: Path, arrival: Arrival) -> Iterator[Path]:
    """Put together what arrives: labels come a month after the rest of their drop."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / drop.name
        shutil.copytree(drop, folder)
        for file in folder.iterdir():
            is_labels = file.name == LABELS.file
            if (arrival.how == "labels") != is_labels and arrival.how != "late drop":
                file.unlink()
        if arrival.how == "correction":
            correct_some_fees(folder)
        yield folder
