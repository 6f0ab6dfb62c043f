"""Pages from templates: the menu, how figures are written, and the one call that answers with a page."""

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from churn.contract.in_force import CONTRACT

if TYPE_CHECKING:
    from console.roles import Person

NOTHING = "\N{EN DASH}"  # where a figure is not known


@dataclass(frozen=True)
class Link:
    """An entry of the menu."""

    path: str
    text: str


# In the order of the menu; a page of its own adds its line here.
MENU = (
    Link("/", "Month"),
    Link("/actions", "Action list"),
    Link("/planner", "Planner"),
    Link("/customer", "Customer"),
    Link("/segments", "Segments"),
    Link("/impact", "Impact"),
    Link("/data", "Data"),
    Link("/trust", "Trust"),
)


def count(value: float | None) -> str:
    """Write a number of things: 7,043."""
    return NOTHING if value is None else f"{value:,.0f}"


def number(value: float | None, digits: int = 2) -> str:
    """Write a number with so many digits behind the point."""
    return NOTHING if value is None else f"{value:,.{digits}f}"


def percent(value: float | None, digits: int = 1) -> str:
    """Write a share of 1 as a percentage."""
    return NOTHING if value is None else f"{100 * value:,.{digits}f} %"


def money(value: float | None) -> str:
    """Write an amount in the currency of the contract; where that names none, as a number of units."""
    return NOTHING if value is None else f"{value:,.0f}"


def day(value: dt.date | dt.datetime | None) -> str:
    """Write a day: 31 Dec 2024."""
    return NOTHING if value is None else f"{value.day} {value:%b %Y}"


def moment(value: dt.datetime | None) -> str:
    """Write an instant, in UTC: 3 Jan 2025, 09:15 UTC."""
    return NOTHING if value is None else f"{day(value)}, {value.astimezone(dt.UTC):%H:%M} UTC"


def month_name(value: dt.date | dt.datetime | None) -> str:
    """Write the month of a day: December 2024."""
    return NOTHING if value is None else f"{value:%B %Y}"


def month_key(value: dt.date | dt.datetime) -> str:
    """Write the month of a day as addresses have it: 2024-12."""
    return f"{value:%Y-%m}"


def bounded(value: float | None, low: float | None, high: float | None, digits: int = 2) -> str:
    """Write a number and its bounds: 0.0123 (-0.0040 to 0.0286); nothing where there is none."""
    if value is None:
        return ""
    return f"{number(value, digits)} ({number(low, digits)} to {number(high, digits)})"


def chart(values: Mapping[str, Any]) -> str:
    """Return what charts.js draws, for the attribute `data-chart`."""
    return json.dumps(values, allow_nan=False, separators=(",", ":"))


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for write in (
        count,
        number,
        percent,
        money,
        day,
        moment,
        month_name,
        month_key,
        bounded,
        chart,
    ):
        environment.filters[write.__name__] = write
    environment.globals.update(menu=MENU, business=CONTRACT.name)
    return environment


_TEMPLATES = _environment()


def page(
    request: Request,
    template: str,
    *,
    who: "Person | None" = None,
    status_code: int = 200,
    **values: Any,
) -> HTMLResponse:
    """Answer with a page.

    Args:
        request: what is answered.
        template: in `console/templates`; it extends `base.html`.
        who: who asks; None on the pages before sign-in, which have no menu.
        status_code: of the answer.
        values: what the template shows.
    """
    html = _TEMPLATES.get_template(template).render(
        who=who, csrf=who.csrf if who else "", path=request.url.path, **values
    )
    return HTMLResponse(html, status_code)
