"""Impact: what calling brought, by month, by segment and together; or why nothing can be claimed."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, fields

from fastapi import APIRouter, Request, Response
from psycopg import sql

from churn.errors import ChurnError
from churn.months import Month
from console.access import Viewer, database_of
from console.errors import NothingHereError
from console.pages import chart, month_key, page
from console.queries import Queries

router = APIRouter()


@dataclass(frozen=True)
class MonthOfCalls:
    """One month with a list: what calling brought, where it can be said."""

    month: dt.date
    list_users: int
    to_call: int
    left_alone: int
    reported: int
    awaits_labels: bool
    is_claimed: bool | None
    not_claimed_because: str | None
    is_shown: bool | None
    leave_rate_treated: float | None
    leave_rate_control: float | None
    uplift: float | None
    uplift_low: float | None
    uplift_high: float | None
    saved_users: float | None
    saved_users_low: float | None
    saved_users_high: float | None
    profit: float | None
    profit_low: float | None
    profit_high: float | None
    breaches: int | None
    measured_at: dt.datetime | None
    is_outdated: bool | None

    @property
    def reason(self) -> str:
        """Why nothing is claimed."""
        if self.is_claimed is None:
            due = Month(self.month).matures_at.date()
            return f"it is measured once the labels are here; they mature at {due}"
        return self.not_claimed_because or ""

    @property
    def has_changed_since(self) -> bool:
        """Say whether it could be measured, and what was reported is not what was measured."""
        return bool(self.is_outdated) and (bool(self.is_claimed) or not self.awaits_labels)


@dataclass(frozen=True)
class LevelOfCalls:
    """What calling brought in one level of a segment, where it can be said."""

    month: dt.date
    segment: str
    level: str
    is_claimed: bool
    not_claimed_because: str | None
    is_shown: bool | None
    listed_users: int
    treated_users: int | None
    control_users: int | None
    leave_rate_treated: float | None
    leave_rate_control: float | None
    uplift: float | None
    uplift_low: float | None
    uplift_high: float | None
    saved_users: float | None
    saved_users_low: float | None
    saved_users_high: float | None
    profit: float | None
    profit_low: float | None
    profit_high: float | None


@dataclass(frozen=True)
class Together:
    """All months of which something is claimed, up to one of them."""

    month: dt.date
    months: int
    is_shown: bool
    saved_users: float
    saved_users_low: float
    saved_users_high: float
    profit: float
    profit_low: float
    profit_high: float


_LEVELS = sql.SQL(
    "SELECT {} FROM retention.uplift_segment WHERE month = %s"
    " ORDER BY segment, listed_users DESC, level"
).format(sql.SQL(", ").join(sql.Identifier(field.name) for field in fields(LevelOfCalls)))
_TOGETHER = sql.SQL("SELECT {} FROM retention.uplift_total ORDER BY month").format(
    sql.SQL(", ").join(sql.Identifier(field.name) for field in fields(Together))
)


@router.get("/impact")
def impact(request: Request, who: Viewer, month: str = "") -> Response:
    """Show what calling brought, and by segment that of one month: the newest claim, or the one asked for."""
    queries = database_of(request).queries
    months = queries.rows(
        MonthOfCalls,
        "SELECT month, m.listed_users AS list_users, m.treated_users AS to_call,"
        " m.control_users AS left_alone, coalesce(m.contacted_users, 0) AS reported, m.awaits_labels,"
        " u.is_claimed, u.not_claimed_because, u.is_shown, u.leave_rate_treated, u.leave_rate_control,"
        " u.uplift, u.uplift_low, u.uplift_high, u.saved_users, u.saved_users_low, u.saved_users_high,"
        " u.profit, u.profit_low, u.profit_high, u.contacted_control_users AS breaches,"
        " u.measured_at, u.is_outdated"
        " FROM retention.month AS m LEFT JOIN retention.uplift AS u USING (month)"
        " WHERE m.listed_users IS NOT NULL ORDER BY month",
    )
    claims = [each for each in months if each.is_claimed]
    sums = queries.rows(Together, _TOGETHER)
    by_segment = _chosen(month, [each.month for each in claims])
    return page(
        request,
        "impact.html",
        who=who,
        months=list(reversed(months)),
        claims=claims,
        sums=list(reversed(sums)),
        total=sums[-1] if sums else None,
        by_segment=by_segment,
        levels=_levels(queries, by_segment),
        drawing=_drawing(months),
        drawing_together=_drawing_together(sums),
    )


def _chosen(asked: str, claimed: Sequence[dt.date]) -> dt.date | None:
    """Return the month that is shown by segment; None where nothing is claimed of any.

    Raises:
        NothingHereError: what was asked for is no month, or nothing is claimed of it.
    """
    if not asked:
        return claimed[-1] if claimed else None
    try:
        day = Month.parse(asked).first_day
    except ChurnError:
        day = None
    if day not in claimed:
        raise NothingHereError(f"Nothing is claimed of {asked[:20]}.", "Choose another month.")
    return day


def _levels(queries: Queries, month: dt.date | None) -> list[LevelOfCalls]:
    return queries.rows(LevelOfCalls, _LEVELS, [month]) if month else []


def _drawing(months: Sequence[MonthOfCalls]) -> str:
    """Return what the chart draws: by how many points of a hundred calling lowered leaving."""

    def points(value: float | None) -> float | None:
        return None if value is None else 100 * value

    return chart(
        {
            "x": [month_key(each.month) for each in months],
            "unit": "",
            "digits": 1,
            "series": [
                {
                    "label": "fewer leavers of 100",
                    "values": [points(each.uplift) for each in months],
                    "low": [points(each.uplift_low) for each in months],
                    "high": [points(each.uplift_high) for each in months],
                    "colour": "realised",
                }
            ],
        }
    )


def _drawing_together(sums: Sequence[Together]) -> str:
    return chart(
        {
            "x": [month_key(each.month) for each in sums],
            "unit": "",
            "digits": 0,
            "series": [
                {
                    "label": "profit so far",
                    "values": [each.profit for each in sums],
                    "low": [each.profit_low for each in sums],
                    "high": [each.profit_high for each in sums],
                    "colour": "realised",
                }
            ],
        }
    )
