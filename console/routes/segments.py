"""Segments: who is expected to leave by segment and by reason, and what got worse since the month before."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, fields
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from psycopg import sql

from churn.contract.in_force import CONTRACT, VIEWS
from churn.scoring.wording import name_of
from console.access import Viewer, database_of
from console.months import choose
from console.pages import month_key, page

router = APIRouter()


@dataclass(frozen=True)
class LevelOfMonth:
    """One level of a segment; docs/retention-views.md says what each column means."""

    month: dt.date
    segment: str
    level: str
    users: int
    expected_leavers: float
    expected_rate: float
    expected_rate_low: float
    expected_rate_high: float
    expected_lift: float | None
    labelled_users: int
    observed_leavers: int | None
    observed_rate: float | None
    observed_rate_low: float | None
    observed_rate_high: float | None
    observed_lift: float | None
    value_at_risk: float | None
    value_lost: float | None
    listed_users: int
    listed_share: float
    share_of_list: float | None
    expected_profit: float
    expected_change: float | None
    expected_change_not_claimed_because: str | None
    observed_change: float | None
    observed_change_not_claimed_because: str | None

    @property
    def on_the_list(self) -> str:
        """The address of its users on the action list."""
        return _listed(self.month, segment=f"{self.segment}={self.level}")


_LEVELS = sql.SQL(
    "SELECT {} FROM retention.segment_month WHERE month = %s ORDER BY segment, users DESC, level"
).format(sql.SQL(", ").join(sql.Identifier(field.name) for field in fields(LevelOfMonth)))


@dataclass(frozen=True)
class ReasonOfMonth:
    """One reason, by the users of the list who have it as their first."""

    month: dt.date
    reason: str
    listed_users: int
    treated_users: int
    share_of_list: float
    expected_profit: float

    @property
    def on_the_list(self) -> str:
        """The address of its users on the action list; blank where no feature is called so any more."""
        feature = _features().get(self.reason)
        return _listed(self.month, reason=feature, first="1") if feature else ""


@dataclass(frozen=True)
class LevelChange:
    """How the share of those who leave moved in one level since the month before.

    Attributes:
        what: expected, or observed.
        points: the change, as a share.
        not_claimed_because: why it tells nothing of the users; None: it does.
    """

    of: LevelOfMonth
    what: str
    rate: float
    low: float
    high: float
    points: float
    not_claimed_because: str | None

    @property
    def is_worse(self) -> bool:
        """Say whether more are leaving than before, and not by chance alone."""
        return self.not_claimed_because is None and self.points > 0


@router.get("/segments")
def segments(request: Request, who: Viewer, month: str | None = None) -> Response:
    """Show the segments and reasons of one month; without a choice the newest that was scored."""
    queries = database_of(request).queries
    chosen = choose(queries, month)
    if chosen.now is None:
        return page(request, "nothing.html", who=who, title="Segments")
    levels = queries.rows(LevelOfMonth, _LEVELS, [chosen.now.month])
    every = changes(levels)
    return page(
        request,
        "segments.html",
        who=who,
        now=chosen.now,
        months=[row.month for row in chosen.every],
        levels=levels,
        descriptions={each.name: name_of(each.column) for each in CONTRACT.segments},
        reasons=queries.rows(
            ReasonOfMonth,
            "SELECT month, reason, listed_users, treated_users, share_of_list, expected_profit"
            " FROM retention.reason_month WHERE month = %s ORDER BY listed_users DESC, reason",
            [chosen.now.month],
        ),
        changes=every,
        worse=[each for each in every if each.is_worse],
    )


def changes(levels: Sequence[LevelOfMonth]) -> list[LevelChange]:
    """Return how each level moved, what rose most first; a level without a month before has none."""
    every = [
        LevelChange(each, what, rate, low, high, change, unclaimed)
        for each in levels
        for what, rate, low, high, change, unclaimed in (
            (
                "expected",
                each.expected_rate,
                each.expected_rate_low,
                each.expected_rate_high,
                each.expected_change,
                each.expected_change_not_claimed_because,
            ),
            (
                "observed",
                each.observed_rate,
                each.observed_rate_low,
                each.observed_rate_high,
                each.observed_change,
                each.observed_change_not_claimed_because,
            ),
        )
        if change is not None and rate is not None and low is not None and high is not None
    ]
    return sorted(every, key=lambda each: -each.points)


def _features() -> dict[str, str]:
    """Return every feature by what the sentences about it begin with."""
    return {name_of(feature.name): feature.name for view in VIEWS for feature in view.features}


def _listed(month: dt.date, **filters: str) -> str:
    return f"/actions?{urlencode({'month': month_key(month), **filters})}"
