"""What each month is due: its jobs and its decision, from the records; pure functions first.

Nobody asks the clock and nobody asks Dagster here: what Postgres says of the months comes as `Facts`
(facts.py reads them), what was tried comes as `Attempt`s (churn_assets/due.py reads them), and the time is an
argument. The last look is kept in Postgres for those who show it: the monthly report and the API.
"""

import datetime as dt
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, get_args

from churn.contract.in_force import LABELS
from churn.database import connect, lock
from churn.months import Month

Job = Literal["month_close", "train_month", "score_month"]
Stage = Literal["month_close", "train_month", "score_month", "decision"]
State = Literal["done", "under way", "due", "waits", "failed", "given up"]

JOBS: tuple[Job, ...] = get_args(Job)
STAGES: tuple[Stage, ...] = get_args(Stage)
# All that labels which came too late for their month are good for: they are kept, and the ledger says so.
LATE_LABELS = (LABELS.name, LABELS.snapshot, "champion")
_LONGEST_ERROR = 300


@dataclass(frozen=True)
class Facts:
    """What Postgres says of the months. A version names what the work on a month rests on."""

    closings: Mapping[Month, str]  # every month with a drop, and the version of its newest one
    unpublished: Collection[Month]  # of them, those whose newest drop is not online
    trainings: Mapping[Month, str]  # every month with labels
    late: Collection[Month]  # of them, those that nobody could have trained on
    scorings: Mapping[Month, str]  # every published month: its publication and the release in force
    unscored: Collection[
        Month
    ]  # of them, those whose scores are missing or rest on another version
    decidable: Sequence[Month]  # on which there is a decision, in decision time
    decided: Collection[Month]
    trained: Collection[Month] = ()  # whose models are there


@dataclass(frozen=True)
class Attempt:
    """One run of a job for a month, as Dagster recorded it."""

    job: Job
    month: Month
    version: str | None  # None: a person launched it
    state: Literal["under way", "succeeded", "failed"]
    ended_at: dt.datetime | None = None
    error: str = ""
    is_refused: bool = False  # a blocking check failed: the same data will fail again
    finished: frozenset[str] = frozenset()  # the assets that were made before it failed
    number: int = 1  # among the attempts at its version, as it was asked for


@dataclass(frozen=True)
class Due:
    """How one stage of one month stands."""

    stage: Stage
    month: Month
    state: State
    version: str = ""
    asked: int = 0  # the number of the last run of this version that was asked for
    failures: int = 0
    since: dt.datetime | None = None  # of the first failure
    error: str = ""  # the last one, in a sentence
    is_refused: bool = False
    again_at: dt.datetime | None = None
    behind: tuple[Stage, Month] | None = None  # what it waits for, at the root
    left: tuple[str, ...] = ()  # the assets still to be made; all of the job's, if empty

    @property
    def is_failure(self) -> bool:
        """It went wrong and is not mended yet."""
        return self.state in ("failed", "given up")

    def is_askable(self, now: dt.datetime | None) -> bool:
        """Say whether a run of it may be asked for at this instant; None: only for the first time."""
        if self.state == "failed":
            return now is not None and self.again_at is not None and self.again_at <= now
        return self.state == "due" and self.stage != "decision"


def look(
    facts: Facts,
    attempts: Iterable[Attempt],
    assets: Mapping[Job, Sequence[str]],
    delays: Sequence[dt.timedelta],
) -> list[Due]:
    """Return how every stage of every month stands, the oldest month first.

    Args:
        facts: what Postgres says.
        attempts: the runs of the three jobs, the newest first.
        assets: what each job makes.
        delays: how long to wait after the first failure, the second, ...; after the last, no more.
    """
    return list(_Look(facts, attempts, assets, delays).stages())


def askable(
    items: Iterable[Due], now: dt.datetime | None, *, given_up_too: bool = False
) -> list[Due]:
    """Return what may be asked for: closings first, then trainings, then scores, oldest month first.

    Args:
        items: of a look.
        now: the instant; None before anybody knows it: then only what was never tried.
        given_up_too: a person asks, who has mended the cause.
    """
    chosen = [
        item
        for item in items
        if item.is_askable(now) or (given_up_too and item.state == "given up")
    ]
    return sorted(chosen, key=lambda item: (STAGES.index(item.stage), item.month))


def due_again_at(
    failed_at: dt.datetime | None, failures: int, delays: Sequence[dt.timedelta]
) -> dt.datetime | None:
    """Return when what has failed is asked for again: a month's job, an alarm's answer; None: no more.

    Args:
        failed_at: when it failed last; None where that is not known.
        failures: how often it has failed.
        delays: how long to wait after the first failure, the second, ...; after the last, no more.
    """
    if failed_at is None or failures > len(delays):
        return None
    return failed_at + delays[failures - 1]


@dataclass(frozen=True)
class _Chain:
    """The attempts at one version of a job's month that count, the newest first."""

    under_way: bool
    failed: Sequence[Attempt]
    asked: int


class _Look:
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
        self.found: dict[tuple[Stage, Month], Due] = {}

    def stages(self) -> Iterator[Due]:
        facts = self.facts
        for month in sorted({*facts.closings, *facts.trainings, *facts.scorings}):
            for item in (self._close(month), self._train(month), self._score(month)):
                if item:
                    self.found[item.stage, month] = item
        behind = self._what_decisions_wait_for()
        for month in facts.decidable:
            is_done = month in facts.decided
            state: State = "done" if is_done else "waits" if behind else "due"
            self.found["decision", month] = Due(
                "decision", month, state, behind=None if is_done else behind
            )
        yield from sorted(
            self.found.values(), key=lambda item: (item.month, STAGES.index(item.stage))
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
        """Collect the failures since the month last came out well, of this version.

        What a person launched has no version: such a failure counts while nothing else has been tried.
        A run that ended well and left undone what is wanted has failed, too.
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
            # A failure of an older version is over once the month is to be made anew. Where what the job
            # makes is there, and only what follows from it has failed, it is not.
            if each.version != version and is_wanted:
                break
            if failed and failed[-1].version is None:
                failed.clear()
            failed.append(each if each.state == "failed" else _fruitless(each))
        # Not how many there are: one that was deleted in the UI leaves its successors their numbers.
        asked = max((each.number for each in attempts if each.version == version), default=0)
        return _Chain(any(each.state == "under way" for each in attempts), failed, asked)

    def _what_decisions_wait_for(self) -> tuple[Stage, Month] | None:
        """Return what keeps the oldest decision that is not taken; later ones wait behind it."""
        undecided = [m for m in self.facts.decidable if m not in self.facts.decided]
        for month in undecided[:1]:
            for each in (month.shift(-1), month):  # the challenger's month, and the one that judges
                for stage in ("month_close", "train_month"):
                    item = self.found.get((stage, each))
                    if item and item.state != "done":
                        return item.behind or (item.stage, item.month)
        return None


def _fruitless(attempt: Attempt) -> Attempt:
    error = "it ended well, and what it was to make is not there"
    return Attempt(attempt.job, attempt.month, attempt.version, "failed", attempt.ended_at, error)


def sentences(items: Sequence[Due]) -> list[str]:
    """Return a sentence for whatever went wrong: what waits behind it, since when, and what to do.

    What waits for a run that is due or under way is in order, and not named.
    """
    return list(told_by_root(items).values())


def told_by_root(items: Sequence[Due]) -> dict[tuple[Stage, Month], str]:
    """Return the same sentences by what they come down to: the stage of a month that others wait for."""
    behind: dict[tuple[Stage, Month], list[Due]] = {}
    for item in items:
        if item.behind:
            behind.setdefault(item.behind, []).append(item)
    roots = {(item.stage, item.month): item for item in items}
    told = {
        key: _of_root(root, behind.get(key, [])) for key, root in roots.items() if root.is_failure
    }
    for key, waiting in behind.items():
        if key not in roots:
            told[key] = _waiting(waiting, _root_in_words(key, None))
    return told


def sentence(item: Due, items: Sequence[Due]) -> str:
    """Return how one stage of one month stands, in a sentence."""
    if item.behind:
        root = next((each for each in items if (each.stage, each.month) == item.behind), None)
        return _waiting([item], _root_in_words(item.behind, root))
    if item.is_failure:
        return _of_root(item, [])
    return f"{item.stage} of {item.month} is {item.state}"


def is_behind(item: Due, items: Sequence[Due]) -> bool:
    """Say whether a stage of a month failed, or waits for one that did or for a drop that is missing."""
    if not item.behind:
        return item.is_failure
    root = next((each for each in items if (each.stage, each.month) == item.behind), None)
    return root is None or root.is_failure


def _of_root(root: Due, waiting: Sequence[Due]) -> str:
    if waiting:
        return _waiting(waiting, _root_in_words((root.stage, root.month), root))
    return f"{root.stage} of {root.month} {_failed(root)}"


def _waiting(waiting: Sequence[Due], root: str) -> str:
    by_stage = groupby(
        sorted(waiting, key=lambda item: (STAGES.index(item.stage), item.month)),
        key=lambda item: item.stage,
    )
    parts = [_months(stage, [item.month for item in each]) for stage, each in by_stage]
    verb = "waits" if len(waiting) == 1 else "wait"
    return f"{' and '.join(parts)} {verb} for {root}"


def _root_in_words(key: tuple[Stage, Month], root: Due | None) -> str:
    stage, month = key
    if root is None:
        return f"the drop of {month}: deliver it with `churn deliver DIR`"
    if root.is_failure:
        return f"{stage} of {month}, which {_failed(root)}"
    return f"{stage} of {month}, which is {root.state}"


def _failed(root: Due) -> str:
    times = "once" if root.failures == 1 else f"{root.failures} times"
    since = f" since {root.since:%Y-%m-%d %H:%M} UTC" if root.since else ""
    return f"failed {times}{since} ({_short(root.error)}): {_remedy(root)}"


def _remedy(root: Due) -> str:
    command = f"run `churn run --from {root.month} --to {root.month}` or re-execute it in the UI"
    if root.again_at:
        return f"it is asked for again from {root.again_at:%Y-%m-%d %H:%M} UTC on"
    if root.is_refused:
        return f"deliver a corrected drop of {root.month}, or mend the cause and {command}"
    return f"mend the cause and {command}"


def _short(error: str) -> str:
    line = " ".join(error.split()) or "no reason was recorded"
    return line if len(line) <= _LONGEST_ERROR else f"{line[:_LONGEST_ERROR]} ..."


def _months(stage: Stage, months: Sequence[Month]) -> str:
    """Return `decisions of 2024-04 to 2025-06`: runs of months as their ends."""
    ranges: list[list[Month]] = []
    for month in months:
        if ranges and ranges[-1][-1].next == month:
            ranges[-1][1:] = [month]
        else:
            ranges.append([month])
    name = f"{stage}s" if stage == "decision" and len(months) > 1 else stage
    return f"{name} of {', '.join(' to '.join(map(str, ends)) for ends in ranges)}"


@dataclass(frozen=True)
class Kept:
    """What the last look found wrong or waiting of one stage of one month."""

    stage: Stage
    month: Month
    state: State
    sentence: str
    since: dt.datetime


def keep_look(items: Sequence[Due]) -> None:
    """Keep what is wrong or waits, for those who show it; what was kept before goes.

    Since when is the first failure's time, its own or of what it waits for; what waits for a drop that is
    missing is behind since the first look that said so.
    """
    behind = [item for item in items if is_behind(item, items)]
    with connect() as connection:
        lock(connection, "churn.months_behind")
        rows = connection.execute("SELECT stage, month, since FROM online.months_behind").fetchall()
        earlier = {(stage, first_day): since for stage, first_day, since in rows}
        connection.execute("DELETE FROM online.months_behind")
        connection.cursor().executemany(
            "INSERT INTO online.months_behind (stage, month, state, sentence, since)"
            " VALUES (%s, %s, %s, %s, coalesce(%s, clock_timestamp()))",
            [
                (
                    item.stage,
                    item.month.first_day,
                    item.state,
                    sentence(item, items),
                    _failed_since(item, items) or earlier.get((item.stage, item.month.first_day)),
                )
                for item in behind
            ],
        )
        connection.execute(
            "INSERT INTO monitoring.looks (looked_at) VALUES (clock_timestamp())"
            " ON CONFLICT (is_only) DO UPDATE SET looked_at = excluded.looked_at"
        )


def _failed_since(item: Due, items: Sequence[Due]) -> dt.datetime | None:
    root = next((each for each in items if (each.stage, each.month) == item.behind), item)
    return root.since


def read_look() -> list[Kept]:
    """Return what the last look kept, the oldest month first."""
    with connect() as connection:
        rows = connection.execute(
            "SELECT stage, month, state, sentence, since FROM online.months_behind"
            " ORDER BY month, stage"
        ).fetchall()
    return [Kept(stage, Month(month), *rest) for stage, month, *rest in rows]
