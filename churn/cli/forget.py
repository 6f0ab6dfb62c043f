"""Erasing a customer: `churn forget`."""

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from churn.cli.screen import err, out


def forget(
    user_id: Annotated[str, typer.Argument(help="Whom, as the drops have it.", metavar="USER_ID")],
    reason: Annotated[
        str, typer.Option(help="Why; it is kept, so it may not say who.", show_default=False)
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only count what would be erased.")
    ] = False,
) -> None:
    """Erase a customer's data wherever it is kept, and keep them out of later drops.

    It cannot be taken back. What a model was fitted on stays as it is in the model; what is kept besides, and
    what building a training set again gives afterwards, is said in docs/security.md.

    **Examples**

    - `churn forget 5575-GNVDE --dry-run`
    - `churn forget 5575-GNVDE --reason "request of 3 June, ticket 4711"`
    """
    from churn.cli.progress import running
    from churn.database.init import prepare_schema
    from churn.erasure.forget import forget as erase
    from churn.promotion.by_hand import operator

    with running("postgres"):
        prepare_schema()
        forgotten = erase(user_id, reason=reason, actor=operator(), dry_run=dry_run)
    table = Table("where", "rows", box=None, pad_edge=False)
    for place, count in sorted(forgotten.erased.items()):
        table.add_row(escape(place), f"{count:,}")
    if table.row_count:
        out().print(table)
    if dry_run:
        err().print("nothing was erased: this was a dry run")
    elif not forgotten.erased:
        err().print("nothing of this customer was there; later drops are taken in without them")
    else:
        err().print("erased; later drops are taken in without this customer")
    if forgotten.left:
        err().print("[red]these still name the customer, and are yours to look at:[/red]")
        for place, count in sorted(forgotten.left.items()):
            err().print(f"  {escape(place)} ({count:,})", soft_wrap=True)
        raise typer.Exit(1)
