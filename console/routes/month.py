"""Month, the first page: who is here, who is expected to leave, what is to be done, and what is awaited."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import LiteralString

from fastapi import APIRouter, Request, Response

from console.access import Viewer, database_of
from console.months import MonthRow, choose
from console.pages import count, day, money, month_key, month_name, number, page, percent
from console.queries import Queries

router = APIRouter()


@dataclass(frozen=True)
class InForce:
    """The release that serves now, and since when."""

    release_id: str
    version: str | None
    candidate: str | None


# In decision time, as the ledger has it: the newest promotion or rollback that stands, by a person last where
# two are of one instant. What the release is, a month that it scored says.
_IN_FORCE: LiteralString = """
SELECT d.release_id, m.release_version AS version, m.release_candidate AS candidate
FROM (SELECT release_id FROM retention.decisions
    WHERE is_standing AND outcome <> 'keep' AND release_id IS NOT NULL
    ORDER BY decided_for DESC, (kind <> 'decision') DESC, seq DESC LIMIT 1) AS d
LEFT JOIN LATERAL (SELECT release_version, release_candidate FROM retention.month
    WHERE release_id = d.release_id LIMIT 1) AS m ON true
WHERE d.release_id IS NOT NULL"""


@dataclass(frozen=True)
class Compared:
    """A figure beside the one of the month before.

    Args:
        name: what it is, with its unit.
        now, before: as they are written.
        change: how it moved, as it is written; empty where one of the two is not known.
    """

    name: str
    now: str
    before: str
    change: str


@router.get("/")
def month(request: Request, who: Viewer, month: str | None = None) -> Response:
    """Show one month; without a choice the newest that was scored."""
    queries = database_of(request).queries
    chosen = choose(queries, month)
    if chosen.now is None:
        return page(request, "nothing.html", who=who, title="Month")
    return page(
        request,
        "month.html",
        who=who,
        now=chosen.now,
        before=chosen.before,
        months=[row.month for row in chosen.every],
        words=" ".join(in_words(chosen.now, chosen.before)),
        compared=list(compared(chosen.now, chosen.before)),
        awaited=list(awaited(chosen.every)),
        in_force=in_force(queries),
    )


def in_force(queries: Queries) -> InForce | None:
    """Return the release that serves now; None where none does."""
    return queries.row(InForce, _IN_FORCE)


def in_words(now: MonthRow, before: MonthRow | None) -> Iterator[str]:
    """Say in plain words what the month comes to."""
    if not now.is_scored:
        yield f"Nobody was scored in {month_name(now.month)}{_why_not(now)}."
        return
    yield f"Of {count(now.users)} users, {_leavers(now)} by {day(now.labels_due)}{_against(now, before)}."
    if now.observed_leavers is not None:
        yield (
            f"It is known by now of {count(now.labelled_users)}, of whom {count(now.observed_leavers)} left."
        )
    if now.treated_users:
        yield (
            f"Calling the {count(now.treated_users)} users of the list that are to be called should bring"
            f" {money(now.expected_profit)} currency units."
        )
    elif now.listed_users is not None:
        yield "Calling nobody pays: the list is empty."
    if now.open_alarms:
        yield (
            "Look at the alarms before you rely on it."
            if now.open_alarms > 1
            else ("Look at the alarm before you rely on it.")
        )


def _why_not(now: MonthRow) -> str:
    if now.awaits_drop:
        return ": its drop is not here"
    if now.awaits_scores:
        return ": its drop is here and waits to be scored"
    return ": no release was in force" if now.release_id is None else ""


def _leavers(now: MonthRow) -> str:
    if now.estimated_leavers is None:
        return f"about {count(now.leavers)} are expected to leave"
    bounds = f"{count(now.estimated_leavers_low)} to {count(now.estimated_leavers_high)}"
    return f"about {count(now.leavers)} ({bounds}) are expected to leave"


def _against(now: MonthRow, before: MonthRow | None) -> str:
    rates = _rate(now), _rate(before)
    if rates[0] is None or rates[1] is None:
        return ""
    here, there = (percent(rate) for rate in rates)
    if here == there:
        return f", the same share as in the month before ({here})"
    word = "more" if rates[0] > rates[1] else "fewer"
    return f", {word} than in the month before ({here} instead of {there})"


def _rate(row: MonthRow | None) -> float | None:
    if row is None or not row.users or row.leavers is None:
        return None
    return row.leavers / row.users


_FIGURES: tuple[tuple[str, Callable[[float | None], str], str], ...] = (
    ("users", count, "users"),
    ("expected leavers, users", count, "leavers"),
    ("left, users", count, "observed_leavers"),
    ("revenue at risk, currency units", money, "value_at_risk"),
    ("users on the list", count, "listed_users"),
    ("expected profit of the list, currency units", money, "expected_profit"),
    ("users contacted, as reported", count, "contacted_users"),
)


def compared(now: MonthRow, before: MonthRow | None) -> Iterator[Compared]:
    """Yield the month's figures beside those of the month before."""
    for name, write, column in _FIGURES:
        here: float | None = getattr(now, column)
        there: float | None = getattr(before, column, None)
        # Between what is shown: the difference of two rounded figures is that of the two.
        moved = None if here is None or there is None else round(here) - round(there)
        yield Compared(name, write(here), write(there), _signed(moved, write))
    share, share_before = _rate(now), _rate(before)
    yield Compared(
        "expected leavers, share of users",
        percent(share),
        percent(share_before),
        _points(share, share_before),
    )


def _signed(moved: float | None, write: Callable[[float], str]) -> str:
    if moved is None:
        return ""
    return write(moved) if moved <= 0 else f"+{write(moved)}"


def _points(here: float | None, there: float | None) -> str:
    if here is None or there is None:
        return ""
    moved = round(100 * here, 1) - round(100 * there, 1)
    return f"{_signed(moved, lambda value: number(value, 1))} points"


def awaited(every: list[MonthRow]) -> Iterator[tuple[str, str]]:
    """Yield what is still to come, as the month's key and a sentence; the oldest month first."""
    for row in reversed(every):
        key, name = month_key(row.month), month_name(row.month)
        if row.awaits_drop:
            yield key, f"The drop of {name} is not here, though a later one is."
        if row.awaits_scores:
            yield key, f"The drop of {name} is here and waits to be scored."
        if row.behind:
            yield key, row.behind
        if row.awaits_labels and not row.awaits_drop:
            yield key, f"Who left after {name}: the labels are due on {day(row.labels_due)}."
