"""Customer: what was said of somebody month by month, why, what was done, what happened, and what if."""

import datetime as dt
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from console.access import Viewer, database_of
from console.acts import Act, record
from console.errors import NothingHereError
from console.explained import CustomerExplained, explain
from console.pages import chart, month_key, page
from console.queries import Queries
from console.what_if import read_form

router = APIRouter()
PATH = "/customer"


@dataclass(frozen=True)
class MonthOfCustomer:
    """What was said, done and seen of somebody in one month in which they were scored."""

    month: dt.date
    probability: float
    rank: int
    percentile: float | None
    customer_value: float | None
    expected_profit: float
    treatment_group: str | None
    treated_at: dt.date | None
    channel: str | None
    offer: str | None
    outcome: str | None
    has_left: bool | None
    release_id: str


@dataclass(frozen=True)
class Reasons:
    """Why somebody was on the list of a month."""

    month: dt.date
    reason_1: str | None
    reason_2: str | None
    reason_3: str | None

    @property
    def sentences(self) -> list[str]:
        """The reasons, the strongest first."""
        return [each for each in (self.reason_1, self.reason_2, self.reason_3) if each]


@router.get(PATH)
def customer(
    request: Request, who: Viewer, user: Annotated[str, Query(max_length=500)] = ""
) -> Response:
    """Show one customer; without an id, where to look for one."""
    user = user.replace("\0", "").strip()
    if not user:
        return page(request, "customer.html", who=who, user="", months=[])
    database = database_of(request)
    months = _months(database.queries, user)
    if not months:
        raise NothingHereError(
            f"Nobody called {user} was scored in any month.",
            "Look for the beginning of the id on the action list; upper and lower case count.",
        )
    now = explain(user)
    form = read_form(now, request.query_params) if isinstance(now, CustomerExplained) else None
    supposed = None
    if form is not None and form.instead and not form.problems:
        supposed = explain(user, form.instead)
    with database.own() as connection:
        detail = {"what_if": sorted(form.instead)} if form is not None and form.instead else {}
        record(connection, Act.CUSTOMER_SEEN, who.name, subject=user, **detail)
    return page(
        request,
        "customer.html",
        who=who,
        user=user,
        months=months,
        newest=months[0],
        reasons=_reasons(database.queries, user),
        now=now,
        is_explained=isinstance(now, CustomerExplained),
        form=form,
        supposed=supposed,
        is_supposed=isinstance(supposed, CustomerExplained),
        drawing=_drawing(months),
    )


def _months(queries: Queries, user: str) -> list[MonthOfCustomer]:
    """Return every month in which somebody was scored, the newest first."""
    return queries.rows(
        MonthOfCustomer,
        "SELECT month, probability, rank, percentile, customer_value, expected_profit, treatment_group,"
        " treated_at, channel, offer, outcome, has_left, release_id"
        " FROM retention.customer_history WHERE user_id = %s ORDER BY month DESC",
        [user],
    )


def _reasons(queries: Queries, user: str) -> list[Reasons]:
    return queries.rows(
        Reasons,
        "SELECT month, reason_1, reason_2, reason_3 FROM retention.action_list WHERE user_id = %s"
        " ORDER BY month DESC",
        [user],
    )


def _drawing(months: list[MonthOfCustomer]) -> str:
    """Return what the chart draws: the probability of leaving, month by month."""
    shown = list(reversed(months))
    return chart(
        {
            "x": [month_key(each.month) for each in shown],
            "unit": "%",
            "digits": 1,
            "series": [
                {
                    "label": "risk",
                    "values": [100 * each.probability for each in shown],
                    "colour": "estimated",
                }
            ],
        }
    )
