"""The rows of `retention.month`: which month a page shows, the one before it, and the choice of months."""

import datetime as dt
from dataclasses import dataclass, fields

from psycopg import sql

from churn.errors import ChurnError
from churn.months import Month
from console.errors import NothingHereError
from console.queries import Queries


@dataclass(frozen=True)
class MonthRow:
    """One month, as the view has it; docs/retention-views.md says what each column means."""

    month: dt.date
    labels_due: dt.date
    awaits_drop: bool
    awaits_scores: bool
    awaits_labels: bool
    behind: str | None
    scored_at: dt.datetime | None
    release_id: str | None
    release_version: str | None
    release_candidate: str | None
    release_trained_on: dt.date | None
    users: int | None
    expected_leavers: float | None
    estimated_leavers: float | None
    estimated_leavers_low: float | None
    estimated_leavers_high: float | None
    labelled_users: int | None
    observed_leavers: int | None
    value_at_risk: float | None
    listed_users: int | None
    treated_users: int | None
    control_users: int | None
    expected_profit: float | None
    contacted_users: int | None
    list_hash: str | None
    drift_alarm: str | None
    performance_alarm: str | None
    open_alarms: int
    decision: str | None
    decision_seq: int | None

    @property
    def leavers(self) -> float | None:
        """How many are expected to leave: by what matured months say, or else by the served probabilities."""
        return self.expected_leavers if self.estimated_leavers is None else self.estimated_leavers

    @property
    def is_scored(self) -> bool:
        """Say whether there is anybody whose chance of leaving is known."""
        return bool(self.users)

    @property
    def is_waiting(self) -> bool:
        """Say whether anything of this month is still to come."""
        return (
            self.awaits_drop or self.awaits_scores or self.awaits_labels or self.behind is not None
        )


_COLUMNS = sql.SQL(", ").join(sql.Identifier(field.name) for field in fields(MonthRow))
_MONTHS = sql.SQL("SELECT {} FROM retention.month ORDER BY month DESC").format(_COLUMNS)


@dataclass(frozen=True)
class Chosen:
    """The month that a page shows.

    Attributes:
        now: the month; None where no drop was ever accepted.
        before: the calendar month before it; None where nothing is known of that.
        every: all months, the newest first.
    """

    now: MonthRow | None
    before: MonthRow | None
    every: list[MonthRow]


def choose(queries: Queries, asked: str | None) -> Chosen:
    """Return the month that was asked for, such as 2024-12; without one the newest that was scored.

    Raises:
        NothingHereError: what was asked for is no month, or nothing is known of it.
    """
    every = queries.rows(MonthRow, _MONTHS)
    by_day = {row.month: row for row in every}
    if asked:
        day = _first_day(asked)
        now = by_day.get(day) if day else None
        if now is None:
            raise NothingHereError(f"Nothing is known of {asked[:20]}.", "Choose another month.")
    else:
        now = next((row for row in every if row.is_scored), every[0] if every else None)
    before = by_day.get(_month_before(now.month)) if now else None
    return Chosen(now, before, every)


def _first_day(text: str) -> dt.date | None:
    try:
        return Month.parse(text).first_day
    except ChurnError:
        return None


def _month_before(day: dt.date) -> dt.date:
    return (day - dt.timedelta(days=1)).replace(day=1)
