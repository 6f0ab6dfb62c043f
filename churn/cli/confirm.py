"""`churn confirm`: a person's word that what cannot be in a month is right all the same."""

from typing import TYPE_CHECKING, Annotated

import typer

from churn.cli.screen import out
from churn.errors import ChurnError
from churn.months import Month

if TYPE_CHECKING:
    from rich.table import Table

    from churn.plausibility.judge import Judgement


def confirm(
    month: Annotated[
        str | None, typer.Option(metavar="YYYY-MM", help="The month that is blocked.")
    ] = None,
    check: Annotated[
        str | None,
        typer.Option(help="The rule to confirm, as the failed check `possible` names it."),
    ] = None,
    file: Annotated[
        str | None, typer.Option(help="Of this file only, as `users`; of all where not given.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why it is right; it is kept.")] = "",
    show_list: Annotated[
        bool, typer.Option("--list", help="Show what has been confirmed, and nothing else.")
    ] = False,
) -> None:
    """Confirm what blocks a month: the content of another month, users who are all new, and the like.

    Without --check it shows what stands against the month. A confirmation holds for the content that is
    there: another delivery needs another word. With the stack up the month is asked for again;
    otherwise run it again: `churn run`.

    **Examples**

    - `churn confirm --month 2024-03`
    - `churn confirm --month 2024-03 --check users_stay --reason "new ids since the migration"`
    - `churn confirm --list`
    """
    from churn.cli.progress import running
    from churn.database.init import prepare_schema
    from churn.plausibility.judge import judge_month

    chosen = Month.parse(month) if month else None
    if chosen is None and not show_list:
        raise ChurnError("no month is given", remedy="give --month YYYY-MM, or --list")
    with running("postgres"):
        prepare_schema()
        if show_list or chosen is None:
            out().print(_listed(chosen))
            return
        if check is None:
            _show(chosen, judge_month(chosen))
            return
        _confirm(chosen, check, file, reason)


def _confirm(month: Month, check: str, file: str | None, reason: str) -> None:
    from rich.markup import escape

    from churn.plausibility.judge import confirm_month
    from churn.promotion.by_hand import operator

    for judgement in confirm_month(month, check, file=file, reason=reason, actor=operator()):
        out().print(escape(judgement.text), soft_wrap=True)


def _show(month: Month, judgements: "list[Judgement]") -> None:
    from rich.markup import escape

    said = [judgement.text for judgement in judgements if judgement.text]
    text = "\n".join(said) or f"nothing stands against {month}"
    out().print(escape(text), soft_wrap=True)


def _listed(month: Month | None) -> "Table":
    from rich.markup import escape
    from rich.table import Table

    from churn.plausibility.confirmations import confirmations

    table = Table(box=None, pad_edge=False)
    for name in ("month", "file", "check", "content", "when", "who", "reason", "what"):
        table.add_column(name, no_wrap=name not in ("reason", "what"))
    for each in confirmations(month):
        table.add_row(
            str(each.month),
            each.file,
            each.rule,
            each.fingerprint[:12],
            f"{each.recorded_at:%Y-%m-%d %H:%M}",
            escape(each.actor),
            escape(each.reason),
            escape(each.what),
        )
    return table
