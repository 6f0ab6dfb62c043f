"""The simulation: each drop goes through the graph when it arrives; what was noticed and decided is recorded.

What is planted in the months is `churn.population.scenario`.
"""

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
from churn.population.scenario import DropArrival, Troubles
from churn.promotion.entry import decisions, sentence
from churn.promotion.ledger import entries
from churn.schedule.facts import late_months, trainable_months
from churn.schedule.sentences import sentences
from churn.settings import get_settings
from churn_assets.batch import ended_at_last, work_off
from churn_assets.due import look_at
from churn_assets.run import JobResult, instance, run_job

# Checks whose warnings count as noticed.
ALARMS = ("feature_drift.no_drift", "model_performance.as_estimated")
OnProgress = Callable[[str, int, int, str], None]


@dataclass(frozen=True)
class Played:
    """The timeline of a simulation, and what went wrong unplanned.

    `failed` are the jobs that had not succeeded by the end, and `behind` sentences about what waits behind
    them.
    """

    rows: "list[Happened]"
    failed: list[JobResult]
    behind: list[str]


@dataclass(frozen=True)
class Happened:
    """One month of the timeline, with the four names of `churn simulate --json`.

    `planted` and `detected_by` are empty where nothing was planted or noticed. `decision` is the ledger's, on
    the labels of this month.
    """

    month: str
    planted: str
    detected_by: str
    decision: str


def simulate(
    folder: Path, troubles: Troubles, *, users: int, seed: int, on_progress: OnProgress
) -> Played:
    """Play the months in the state folder of the settings, which must be empty.

    What failed is tried once more at every month end, as the sensor would have done by then.

    Args:
        folder: where the drops are written.
        troubles: what is planted.
        users: per month.
        seed: of the population.
        on_progress: called at each step.

    Returns:
        One row per month, and what failed unplanned.
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
    with instance() as dagster:
        for number in range(months):
            on_progress("simulate", number, months, str(first.shift(number)))
            for month, what in _month_end(first, number, drops, troubles, dagster, jobs):
                if what not in noticed[month]:
                    noticed[month].append(what)
        behind = sentences(look_at(dagster))
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
    """Return the timeline as JSON values."""
    return [asdict(row) for row in rows]


def _month_end(
    first: Month,
    number: int,
    drops: list[Path],
    troubles: Troubles,
    dagster: dg.DagsterInstance,
    jobs: list[JobResult],
) -> Iterator[tuple[Month, str]]:
    """Yield what is noticed, and about which month, after month `number` has closed."""
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
    ended = [run_job(job, month, dagster) for job, month in due]
    before = closed.shift(-1)
    if before in trainable_months() and number - 1 != troubles.late:
        ended.append(run_job("train_month", before, dagster))
    if ("month_close", closed) in due:
        ended.append(run_job("score_month", closed, dagster))
    jobs[:] = ended_at_last(jobs, ended)
    if any(not job.succeeded for job in jobs):
        again = list(work_off(dagster, lambda item: item.month <= closed))
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
def _as_it_comes(drop: Path, arrival: DropArrival) -> Iterator[Path]:
    """Yield a folder with the files that arrive: labels come a month after the rest of their drop."""
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
