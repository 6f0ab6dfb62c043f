"""Campaigns: `churn campaign list`, `show` and `save`, the terms under which the lists are made."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from churn.cli.screen import err, out
from churn.errors import ChurnError
from churn.months import Month

if TYPE_CHECKING:
    from churn.scoring.plan import ListPlan

campaign = typer.Typer(
    no_args_is_help=True,
    help="""The terms under which a month's list is made, from a month on; without any, the settings.

    **Examples**

    - `churn campaign show --month 2024-05 --term budget=8000`
    - `churn campaign save --from 2024-06 --term budget=8000 --reason "more callers"`
    - `churn campaign list`
    """,
)
Given = Annotated[
    list[str] | None,
    typer.Option(
        "--term",
        metavar="NAME=VALUE",
        help="customer_value, incentive_cost, contact_cost, accept_alpha, accept_beta, budget or"
        " control_share; may be given several times.",
    ),
]


@campaign.command("list")
def list_() -> None:
    """Show every campaign that was saved, the newest first; of those for a month, that one counts."""
    from churn.cli.progress import running
    from churn.database import connect
    from churn.scoring.campaigns import campaigns

    with running("postgres"), connect() as connection:
        saved = campaigns(connection)
    table = Table("campaign", "from", "terms", "why", "saved", box=None, pad_edge=False)
    for each in saved:
        table.add_row(
            str(each.campaign_id),
            str(each.month),
            "\n".join(f"{name} {value:.15g}" for name, value in each.terms.model_dump().items()),
            escape(each.reason),
            escape(f"{each.actor}, {each.recorded_at:%Y-%m-%d}"),
        )
    out().print(table)
    if not saved:
        err().print("none was saved; the settings CHURN_CAMPAIGN_... say the terms")


@campaign.command("show")
def show(
    month: Annotated[str, typer.Option(metavar="YYYY-MM", help="The month whose list it is.")],
    term: Given = None,
) -> None:
    """Show the terms of a month's list, and what it comes to under them, or under others.

    A term that is not given is that of the month. Nothing is written.

    **Examples**

    - `churn campaign show --month 2024-05`
    - `churn campaign show --month 2024-05 --term budget=8000 --term control_share=0.2`
    """
    from psycopg.rows import class_row

    from churn.cli.progress import running
    from churn.database import connect
    from churn.evaluation.money import Campaign
    from churn.scoring.campaigns import campaign_of_month, terms_of, with_terms
    from churn.scoring.plan import SCORES, ScoreColumns, month_scores, plan

    given = _given(term)
    chosen = Month.parse(month)
    with running("postgres"), connect() as connection:
        saved = campaign_of_month(connection, chosen)
        terms = with_terms(terms_of(saved), given)
        with connection.cursor(row_factory=class_row(ScoreColumns)) as cursor:
            columns = cursor.execute(SCORES, {"as_of": chosen.as_of}).fetchone()
    scores = month_scores(chosen, columns) if columns else None
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("campaign", f"{saved.campaign_id}" if saved else "none: the settings")
    for name, value in terms.model_dump().items():
        table.add_row(f"  {name}", f"{value:.15g}")
    if scores is not None:
        planned = plan(scores, Campaign(**terms.model_dump()))
        for name, text in _figures(planned):
            table.add_row(name, text)
    out().print(table)
    if scores is None:
        err().print(f"nobody was scored in {chosen}, so there is nothing to plan with")


@campaign.command("save")
def save(
    first_month: Annotated[
        str, typer.Option("--from", metavar="YYYY-MM", help="The first month whose list it is for.")
    ],
    reason: Annotated[str, typer.Option(help="Why; it is kept with the campaign.")],
    term: Given = None,
) -> None:
    """Save the terms of the lists of a month and of those after it.

    A term that is not given is as it was to be for that month. Lists that are there keep their terms.

    **Example**

    - `churn campaign save --from 2024-06 --term budget=8000 --reason "more callers"`
    """
    from churn.cli.progress import running
    from churn.database import connect
    from churn.database.init import prepare_schema
    from churn.promotion.by_hand import operator
    from churn.scoring.campaigns import campaign_of_month, save_campaign, terms_of, with_terms

    given = _given(term)
    chosen = Month.parse(first_month)
    with running("postgres"):
        prepare_schema()
        with connect() as connection:
            terms = with_terms(terms_of(campaign_of_month(connection, chosen)), given)
            saved = save_campaign(
                connection, chosen, terms.model_dump(), reason=reason, actor=operator()
            )
    err().print(f"campaign {saved.campaign_id} holds from {saved.month} on")


def _given(terms: list[str] | None) -> dict[str, float]:
    given = {}
    for each in terms or ():
        name, _, text = each.partition("=")
        try:
            given[name] = float(text)
        except ValueError:
            raise ChurnError(
                f"{each!r} is no term with a number", remedy="write it as --term budget=8000"
            ) from None
    return given


def _figures(planned: "ListPlan") -> Iterator[tuple[str, str]]:
    yield "calls that pay", f"{planned.paying:,} of {len(planned.probabilities):,} users"
    yield "on the list", f"{planned.listed:,}"
    yield "  to be called", f"{planned.treated:,}"
    yield "  to be left alone", f"{planned.control:,}"
    yield "expected profit", f"{planned.expected_profit:,.0f}"
    yield "expected cost", f"{planned.expected_cost:,.0f}"
    cut_off = "" if planned.cut_off is None else f"{planned.cut_off:.3f}"
    yield "lowest probability on the list", cut_off
