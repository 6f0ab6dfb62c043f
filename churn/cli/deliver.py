"""`churn deliver` takes drops in; with `churn confirm`, a person confirms what looks impossible."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from churn.cli.screen import err, instant, month_or_none, out, stack_progress
from churn.errors import ChurnError
from churn.months import Month

if TYPE_CHECKING:
    from rich.table import Table

    from churn.deliveries import DeliveryOutcome
    from churn.plausibility.judge import Judgement


_STATE_NAMES = {"accepted": "new", "corrected": "correction", "unchanged": "unchanged"}


def deliver(
    folder: Annotated[
        Path, typer.Argument(help="A drop (the folder of its files), or a folder of drops.")
    ],
    known_at: Annotated[
        str | None,
        typer.Option(
            metavar="WHEN",
            help="When the content was known, if not now: 2024-03-05 (the end of that day, UTC)"
            " or 2024-03-05T09:00+00:00.",
        ),
    ] = None,
    month: Annotated[
        str | None,
        typer.Option(metavar="YYYY-MM", help="The drop's month, if its folder's name says none."),
    ] = None,
    history: Annotated[
        bool,
        typer.Option("--history", help="Load history: these drops had arrived on time."),
    ] = False,
) -> None:
    """Validate drops and take them in; all of a drop or nothing of it.

    The same content again changes nothing, whatever its row order. Other content for a month that has been
    delivered is a correction: from then on it replaces that file as a whole, and both versions stay. A
    refused drop changes nothing, and the others are taken in all the same; every problem is listed, and the
    exit status is 1.

    **Examples**

    - `churn deliver drops/month_003`
    - `churn deliver drops --history`
    - `churn deliver fixed/month_001 --known-at 2024-03-05`
    """
    from churn.database.init import prepare_schema
    from churn.deliveries import Refusal, find_drops
    from churn.deliveries import deliver as take_in
    from churn.deliveries.drop_outcomes import DropOutcome, keep_outcomes
    from churn.deliveries.drops import name_of_drop
    from churn.stack.supervisor import running_stack

    when, chosen = instant(known_at) if known_at is not None else None, month_or_none(month)
    drops = find_drops(folder)
    # Files of several months may lie beside each other in one folder: of those, take the chosen month's.
    if chosen and {path for _, path in drops} == {folder}:
        drops = [drop for drop in drops if drop[0] == chosen] or drops[:1]
    if chosen and len(drops) > 1:
        raise ChurnError("--month is for one drop", where=str(folder), remedy="deliver one by one")
    show_strays(folder)
    outcomes: list[DeliveryOutcome] = []
    refused: dict[str, ChurnError] = {}
    with stack_progress() as report, running_stack(("postgres",), report):
        prepare_schema()
        try:
            # The oldest come first, since what was known when depends on the order.
            for named, drop in drops:
                now = dt.datetime.now(dt.UTC)
                try:
                    outcome = take_in(
                        drop, now=now, month=chosen or named, known_at=when, history=history
                    )
                except Refusal as refusal:
                    refused[name_of_drop(named, drop, drops)] = refusal
                else:
                    outcomes.append(outcome)
        finally:
            _show(outcomes)
        keep_outcomes(DropOutcome(name, "refused", str(error)) for name, error in refused.items())
        for outcome in outcomes:
            try:
                _show_copies(outcome)
            except ChurnError as error:
                # A stored file of some month is gone. The drops have been taken in all the same.
                err().print(
                    f"[yellow]not compared with other months:[/yellow] {escape(str(error))}"
                )
    show_refused(refused, [outcome.month for outcome in outcomes], "taken in")
    if refused:
        raise typer.Exit(1)


def show_strays(folder: Path) -> None:
    """Name what lies beside the drops and was perhaps meant as one."""
    from churn.deliveries.drops import list_drops

    listing = list_drops(folder)
    # A folder without drops is itself one, whose files are not strays.
    for stray in listing.strays if listing.drops else ():
        if stray.is_alike:
            err().print(f"[yellow]passed over:[/yellow] {escape(str(stray))}", soft_wrap=True)


def show_refused(
    refused: Mapping[str, ChurnError], months: Sequence[Month], what_was_done: str
) -> None:
    """Print why each refused drop was refused, and what became of the other months."""
    for error in refused.values():
        err().print(f"[red]{escape(str(error))}[/red]", soft_wrap=True)
    if refused and months:
        names = ", ".join(refused)
        done = ", ".join(map(str, months))
        err().print(
            f"[red]refused: {names}[/red]; {what_was_done} all the same: {done}. A refused month stays a"
            " hole, for which later ones do not wait. Delivered after them, it counts as known from then on;"
            " if it had arrived in time, say so: `churn deliver DIR --history`",
            soft_wrap=True,
        )


def _show_copies(outcome: "DeliveryOutcome") -> None:
    """Name files that are another month's, as closing the month would find out later."""
    from churn.plausibility.judge import copies
    from churn.plausibility.rules import impossible

    findings = copies(file.delivery for file in outcome.files if file.state != "unchanged")
    if not findings:
        return
    month, facts = outcome.month, "\n".join(finding.what for finding in findings)
    remedy = f"deliver the export of {month} itself, if this one is not"
    if impossible(findings):
        remedy = (
            f"deliver the export of {month} itself; this one is blocked when the month is made, unless"
            f" somebody confirms it: `churn confirm --month {month}`"
        )
    err().print(
        f"[yellow]another month's, and taken in:[/yellow]\n{escape(facts)}\n  -> {remedy}",
        soft_wrap=True,
    )


def _show(outcomes: Iterable["DeliveryOutcome"]) -> None:
    from churn.deliveries.problems import oddities_text

    table = Table("month", "file", "rows", "", "known at", box=None, pad_edge=False)
    for outcome in outcomes:
        for file in outcome.files:
            given = file.delivery
            table.add_row(
                str(given.month), given.file, f"{given.rows:,}", _STATE_NAMES[file.state],
                given.known_at.astimezone(dt.UTC).isoformat(timespec="seconds"),
            )  # fmt: skip
    if table.row_count:
        out().print(table)
    for outcome in outcomes:
        if outcome.oddities:
            text = escape(oddities_text(outcome.oddities))
            err().print(
                f"[yellow]odd in {outcome.month}, and taken in:[/yellow]\n{text}", soft_wrap=True
            )


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
    there: another delivery needs another confirmation. With the stack up, the month is requested again;
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
            _show_judgements(chosen, judge_month(chosen))
            return
        _confirm(chosen, check, file, reason)


def _confirm(month: Month, check: str, file: str | None, reason: str) -> None:
    from rich.markup import escape

    from churn.plausibility.judge import confirm_month
    from churn.promotion.by_hand import operator

    for judgement in confirm_month(month, check, file=file, reason=reason, actor=operator()):
        out().print(escape(judgement.text), soft_wrap=True)


def _show_judgements(month: Month, judgements: "list[Judgement]") -> None:
    from rich.markup import escape

    texts = [judgement.text for judgement in judgements if judgement.text]
    text = "\n".join(texts) or f"nothing stands against {month}"
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
