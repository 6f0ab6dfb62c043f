"""What is due for each month, its jobs and its decision, as pure functions of what is recorded.

Nothing here asks the clock or Dagster: the state of the months comes as `Facts` (read by facts.py), what
was tried comes as `Attempt`s (read by churn_assets/due.py), and the time is an argument. What is said of it
stands in sentences.py.
"""

import datetime as dt
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from churn.contract.in_force import LABELS
from churn.months import Month

Job = Literal["month_close", "train_month", "score_month"]
Stage = Literal["month_close", "train_month", "score_month", "decision"]
State = Literal["done", "under way", "due", "waits", "failed", "given up"]

JOBS: tuple[Job, ...] = get_args(Job)
STAGES: tuple[Stage, ...] = get_args(Stage)
# Labels that came too late for their month can do no more than this: they are kept, and the ledger says so.
LATE_LABELS = (LABELS.name, LABELS.snapshot, "champion")


@dataclass(frozen=True)
class Facts:
    """What Postgres says about the months. A version names the data that the work on a month rests on.

    Args:
        closings: every month with a drop, with the version of its newest one.
        unpublished: those of them whose newest drop is not online.
        trainings: every month with labels, with their version.
        late: those of them whose labels became known too late to train on.
        scorings: every published month; the version is its publication and the release in force.
        unscored: those of them whose scores are missing or rest on another version.
        decidable: the months on which a decision is to be taken, in the order of their decisions.
        decided: the months on which it was taken.
        trained: the months whose models exist.
    """

    closings: Mapping[Month, str]
    unpublished: Collection[Month]
    trainings: Mapping[Month, str]
    late: Collection[Month]
    scorings: Mapping[Month, str]
    unscored: Collection[Month]
    decidable: Sequence[Month]
    decided: Collection[Month]
    trained: Collection[Month] = ()


@dataclass(frozen=True)
class Attempt:
    """One run of a job for a month, as Dagster recorded it.

    Args:
        version: the version that it was requested for; None where a person launched it.
        is_refused: a blocking check failed, so the same data will fail again.
        finished: the assets that were made before it failed.
        number: the number under which it was requested, among the attempts at its version.
    """

    job: Job
    month: Month
    version: str | None
    state: Literal["under way", "succeeded", "failed"]
    ended_at: dt.datetime | None = None
    error: str = ""
    is_refused: bool = False
    finished: frozenset[str] = frozenset()
    number: int = 1


@dataclass(frozen=True)
class Due:
    """How one stage of one month stands.

    Args:
        version: the version that it is due for.
        asked: the number of the last run that was requested for this version.
        failures: how often it failed.
        since: when it first failed.
        error: the last error, in a sentence.
        is_refused: a blocking check failed, so the same data will fail again.
        again_at: when it is requested again.
        behind: the stage and month at the root of what it waits for.
        left: the assets that are still to be made; empty for all of the job's.
    """

    stage: Stage
    month: Month
    state: State
    version: str = ""
    asked: int = 0
    failures: int = 0
    since: dt.datetime | None = None
    error: str = ""
    is_refused: bool = False
    again_at: dt.datetime | None = None
    behind: tuple[Stage, Month] | None = None
    left: tuple[str, ...] = ()

    @property
    def is_failure(self) -> bool:
        """Whether it failed and has not succeeded since."""
        return self.state in ("failed", "given up")

    def is_askable(self, now: dt.datetime | None) -> bool:
        """Return whether a run may be requested at this instant; for None, only one that was never tried."""
        if self.state == "failed":
            return now is not None and self.again_at is not None and self.again_at <= now
        return self.state == "due" and self.stage != "decision"


def stage_states(
    facts: Facts,
    attempts: Iterable[Attempt],
    assets: Mapping[Job, Sequence[str]],
    delays: Sequence[dt.timedelta],
) -> list[Due]:
    """Return how every stage of every month stands, the oldest month first.

    Args:
        facts: what Postgres says.
        attempts: the runs of the three jobs, the newest first.
        assets: the assets that each job makes.
        delays: how long to wait after the first failure, the second, and so on; after the last, a stage is
            given up.
    """
    return list(_Stages(facts, attempts, assets, delays).stages())


def askable(
    items: Iterable[Due], now: dt.datetime | None, *, given_up_too: bool = False
) -> list[Due]:
    """Return what may be requested: closings first, then trainings, then scores, oldest month first.

    Args:
        items: the stages of all months.
        now: the present instant; with None, only what was never tried is returned.
        given_up_too: include what was given up, for a person who has mended the cause.
    """
    chosen = [
        item
        for item in items
        if item.is_askable(now) or (given_up_too and item.state == "given up")
    ]
    return sorted(chosen, key=lambda item: (STAGES.index(item.stage), item.month))


def is_behind(item: Due, items: Sequence[Due]) -> bool:
    """Return whether a stage failed, or waits for one that failed or for a drop that is missing."""
    if not item.behind:
        return item.is_failure
    root = next((each for each in items if (each.stage, each.month) == item.behind), None)
    return root is None or root.is_failure


def due_again_at(
    failed_at: dt.datetime | None, failures: int, delays: Sequence[dt.timedelta]
) -> dt.datetime | None:
    """Return when something that failed is requested again; None where it is given up.

    Args:
        failed_at: when it last failed; None where that is not known.
        failures: how often it has failed.
        delays: how long to wait after the first failure, the second, and so on; after the last, it is given
            up.
    """
    if failed_at is None or failures > len(delays):
        return None
    return failed_at + delays[failures - 1]


@dataclass(frozen=True)
class _Chain:
    """The attempts that count for one version of a month's job.

    Args:
        under_way: whether a run is under way.
        failed: the failed attempts, the newest first.
        asked: the number of the last run that was requested for the version.
    """

    under_way: bool
    failed: Sequence[Attempt]
    asked: int


class _Stages:
    """Works out the stages of all months from the facts and the attempts."""

    def __init__(
        self,
        facts: Facts,
        attempts: Iterable[Attempt],
        assets: Mapping[Job, Sequence[str]],
        delays: Sequence[dt.timedelta],
    ) -> None:
        self.facts, self.assets, self.delays = facts, assets, delays
        self.attempts: dict[tuple[Job, Month], list[Attempt]] = {}
        for each in attempts:
            self.attempts.setdefault((each.job, each.month), []).append(each)
        self.due_by_stage: dict[tuple[Stage, Month], Due] = {}

    def stages(self) -> Iterator[Due]:
        facts = self.facts
        for month in sorted({*facts.closings, *facts.trainings, *facts.scorings}):
            for item in (self._close(month), self._train(month), self._score(month)):
                if item:
                    self.due_by_stage[item.stage, month] = item
        behind = self._what_decisions_wait_for()
        for month in facts.decidable:
            is_done = month in facts.decided
            state: State = "done" if is_done else "waits" if behind else "due"
            self.due_by_stage["decision", month] = Due(
                "decision", month, state, behind=None if is_done else behind
            )
        yield from sorted(
            self.due_by_stage.values(), key=lambda item: (item.month, STAGES.index(item.stage))
        )

    def _close(self, month: Month) -> Due | None:
        if month not in self.facts.closings:
            return None
        is_wanted = month in self.facts.unpublished
        return self._job("month_close", month, self.facts.closings[month], is_wanted)

    def _train(self, month: Month) -> Due | None:
        if month not in self.facts.trainings:
            return None
        if month not in self.facts.scorings:
            return Due("train_month", month, "waits", behind=("month_close", month))
        version = self.facts.trainings[month]
        if month not in self.facts.late:
            is_wanted = month not in self.facts.trained
            return self._job("train_month", month, version, is_wanted)
        is_kept = any(
            each.state == "succeeded" and each.version == version
            for each in self.attempts.get(("train_month", month), ())
        )
        return self._job("train_month", month, version, not is_kept, LATE_LABELS)

    def _score(self, month: Month) -> Due | None:
        if month in self.facts.scorings:
            is_wanted = month in self.facts.unscored
            return self._job("score_month", month, self.facts.scorings[month], is_wanted)
        if month in self.facts.closings:
            return Due("score_month", month, "waits", behind=("month_close", month))
        return None

    def _job(
        self,
        job: Job,
        month: Month,
        version: str,
        is_wanted: bool,
        only: Sequence[str] = (),
    ) -> Due:
        chain = self._chain(job, month, version, is_wanted)
        finished = frozenset[str]().union(
            *(each.finished for each in chain.failed if each.version == version or not is_wanted)
        )
        due = only or self.assets[job]
        left = tuple(asset for asset in due if asset not in finished)
        if chain.under_way:
            return Due(job, month, "under way", version, chain.asked)
        if not is_wanted and not (chain.failed and left):
            return Due(job, month, "done", version, chain.asked)
        if left == tuple(self.assets[job]):
            left = ()
        if not any(each.version in (version, None) for each in chain.failed):
            return Due(job, month, "due", version, chain.asked, left=left)
        last, failures = chain.failed[0], len(chain.failed)
        again_at = None
        if not last.is_refused:
            again_at = due_again_at(last.ended_at, failures, self.delays)
        return Due(
            job,
            month,
            "failed" if again_at else "given up",
            version,
            chain.asked,
            failures,
            since=chain.failed[-1].ended_at,
            error=last.error,
            is_refused=last.is_refused,
            again_at=again_at,
            left=left,
        )

    def _chain(self, job: Job, month: Month, version: str, is_wanted: bool) -> _Chain:
        """Collect the failures at this version since the month's job last succeeded.

        A run that a person launched has no version: its failure counts while nothing else has been tried.
        A run that ended well but did not make what is wanted counts as failed, too.
        """
        attempts = self.attempts.get((job, month), [])
        failed: list[Attempt] = []
        for each in attempts:
            if each.state == "under way":
                continue
            if each.version is None and each.state == "failed":
                if not failed:
                    failed.append(each)
                continue
            if each.state == "succeeded" and (each.version != version or not is_wanted):
                break
            # A failure at an older version no longer counts once the month is to be made again. It still does
            # where the job's main result exists, and only what follows from it failed.
            if each.version != version and is_wanted:
                break
            if failed and failed[-1].version is None:
                failed.clear()
            failed.append(each if each.state == "failed" else _fruitless(each))
        # The highest number, not how many there are: runs may have been deleted in the UI.
        asked = max((each.number for each in attempts if each.version == version), default=0)
        return _Chain(any(each.state == "under way" for each in attempts), failed, asked)

    def _what_decisions_wait_for(self) -> tuple[Stage, Month] | None:
        """Return what the oldest open decision waits for; later decisions wait behind it."""
        undecided = [m for m in self.facts.decidable if m not in self.facts.decided]
        for month in undecided[:1]:
            # The month of the challenger, and the month whose labels judge it.
            for each in (month.shift(-1), month):
                for stage in ("month_close", "train_month"):
                    item = self.due_by_stage.get((stage, each))
                    if item and item.state != "done":
                        return item.behind or (item.stage, item.month)
        return None


def _fruitless(attempt: Attempt) -> Attempt:
    error = "it ended well, and what it was to make is not there"
    return Attempt(attempt.job, attempt.month, attempt.version, "failed", attempt.ended_at, error)
