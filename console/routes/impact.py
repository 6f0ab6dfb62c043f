"""Impact: what calling brought, month by month and together, with bounds; or why nothing can be claimed."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response

from churn.evaluation.bootstrap import Interval, added_up
from churn.months import Month
from console.access import Viewer, database_of
from console.pages import chart, month_key, page

router = APIRouter()


@dataclass(frozen=True)
class MonthOfCalls:
    """One month with a list: what calling brought, where it can be said."""

    month: dt.date
    list_users: int
    to_call: int
    left_alone: int
    reported: int
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
    cost: float | None
    profit: float | None
    profit_low: float | None
    profit_high: float | None
    measured_reports: int | None
    breaches: int | None
    updated_at: dt.datetime | None

    @property
    def reason(self) -> str:
        """Why nothing is claimed."""
        if self.is_claimed is None:
            due = Month(self.month).matures_at.date()
            return f"it is measured once the labels are here; they mature at {due}"
        return self.not_claimed_because or ""

    @property
    def reports_since(self) -> int:
        """How many calls were reported after it was measured."""
        return self.reported - (self.measured_reports or 0) if self.is_claimed else 0

    def interval(self, name: str) -> Interval:
        """Return a figure of a claim with its bounds."""
        values = (getattr(self, f"{name}{bound}") for bound in ("", "_low", "_high"))
        return Interval(*(float(value) for value in values))


@dataclass(frozen=True)
class Together:
    """All months of which something is claimed, up to one of them."""

    month: dt.date
    months: int
    saved_users: Interval
    profit: Interval

    @property
    def is_shown(self) -> bool:
        """The calls kept users: the interval lies above zero."""
        return self.saved_users.low > 0


@router.get("/impact")
def impact(request: Request, who: Viewer) -> Response:
    """Show what calling brought."""
    months = database_of(request).queries.rows(
        MonthOfCalls,
        "SELECT month, m.listed_users AS list_users, m.treated_users AS to_call,"
        " m.control_users AS left_alone, coalesce(m.contacted_users, 0) AS reported, u.is_claimed,"
        " u.not_claimed_because, u.is_shown, u.leave_rate_treated, u.leave_rate_control, u.uplift,"
        " u.uplift_low, u.uplift_high, u.saved_users, u.saved_users_low, u.saved_users_high, u.cost,"
        " u.profit, u.profit_low, u.profit_high,"
        " u.contacted_users + u.contacted_control_users AS measured_reports,"
        " u.contacted_control_users AS breaches, u.updated_at"
        " FROM retention.month AS m LEFT JOIN retention.uplift AS u USING (month)"
        " WHERE m.listed_users IS NOT NULL ORDER BY month",
    )
    claims = [each for each in months if each.is_claimed]
    sums = _together(claims)
    return page(
        request,
        "impact.html",
        who=who,
        months=list(reversed(months)),
        claims=claims,
        sums=list(reversed(sums)),
        total=sums[-1] if sums else None,
        drawing=_drawing(months),
        drawing_together=_drawing_together(sums),
    )


def _together(claims: Sequence[MonthOfCalls]) -> list[Together]:
    """Return what the months came to, each with all before it."""
    return [
        Together(
            each.month,
            count,
            added_up([claim.interval("saved_users") for claim in claims[:count]]),
            added_up([claim.interval("profit") for claim in claims[:count]]),
        )
        for count, each in enumerate(claims, start=1)
    ]


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
                    "values": [each.profit.estimate for each in sums],
                    "low": [each.profit.low for each in sums],
                    "high": [each.profit.high for each in sums],
                    "colour": "realised",
                }
            ],
        }
    )
