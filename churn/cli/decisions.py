"""Releases: `churn ledger` shows who was promoted on what evidence; `churn promote` and `churn rollback`."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from churn.cli.screen import out

if TYPE_CHECKING:
    from rich.table import Table

    from churn.promotion.entry import Entry
    from churn.promotion.ledger import Verification


def promote(
    version: Annotated[str, typer.Argument(help="The version of the registered model in MLflow.")],
    reason: Annotated[str, typer.Option(help="Why; it is kept in the ledger.")],
) -> None:
    """Put a registered version in force; the API serves it within five seconds.

    The gate is not asked. Later decisions judge their challengers against this release.

    **Example**

    - `churn promote 7 --reason "the champion scores the new tariff wrongly"`
    """
    from churn.cli.progress import running
    from churn.promotion.by_hand import operator
    from churn.promotion.by_hand import promote as promote_by_hand
    from churn.promotion.cards import write_missing_cards
    from churn.promotion.entry import action_text

    with running("postgres", "mlflow"):
        entry = promote_by_hand(version, reason=reason, actor=operator())
        write_missing_cards()
    out().print(action_text(entry))


def rollback(
    reason: Annotated[str, typer.Option(help="Why; it is kept in the ledger.")],
) -> None:
    """Restore the release before the one in force: its model, threshold and feature service.

    The API serves it within five seconds, without a restart. A second rollback goes one release
    further back.

    **Example**

    - `churn rollback --reason "complaints about calls to users who stay"`
    """
    from churn.cli.progress import running
    from churn.promotion.by_hand import operator
    from churn.promotion.by_hand import rollback as roll_back
    from churn.promotion.entry import action_text

    with running("postgres", "mlflow"):
        entry = roll_back(reason=reason, actor=operator())
    out().print(action_text(entry))


def ledger(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of a table.")
    ] = False,
) -> None:
    """Show the promotion ledger and verify its chain; exit status 1 names the first broken entry.

    **Examples**

    - `churn ledger`
    - `churn ledger --json | jq -r '.entries[] | select(.outcome == "promote").month'`
    """
    from churn.cli.progress import running
    from churn.promotion.ledger import entries, release_in_force, verify

    with running("postgres"):
        verification = verify()
        # Entries from the broken one on prove nothing.
        listed = entries(before=verification.broken)
        release = release_in_force() if verification.is_whole else None
    if as_json:
        answer = {
            "whole": verification.is_whole,
            "broken": verification.broken,
            "problem": verification.problem,
            "in_force": release.as_json() if release else None,
            "entries": [entry.as_json() for entry in listed],
        }
        typer.echo(json.dumps(answer, indent=2))
    else:
        console = out()
        console.print(_table(listed))
        console.print(_verdict(verification))
    if not verification.is_whole:
        raise typer.Exit(1)


def _table(entries: "list[Entry]") -> "Table":
    from rich.markup import escape
    from rich.table import Table

    from churn.promotion.entry import in_force

    table = Table(box=None, pad_edge=False)
    for name in ("entry", "in force from", "labels of", "what", "release in force", "why"):
        table.add_column(name, no_wrap=name not in ("release in force", "why"))
    for entry in entries:
        what = entry.outcome if entry.is_decision else entry.kind
        table.add_row(
            f"{entry.seq}",
            f"{entry.decided_for:%Y-%m-%d}",
            str(entry.month or ""),
            f"[bold green]{what}[/bold green]" if entry.outcome != "keep" else what,
            in_force(entry),
            escape("\n".join(entry.reasons)),
        )
    return table


def _verdict(verification: "Verification") -> str:
    if verification.is_whole:
        return f"\n[green]{verification.entries} entries, the chain is whole[/green]"
    return f"\n[red]the chain is broken: {verification.problem}[/red]"
