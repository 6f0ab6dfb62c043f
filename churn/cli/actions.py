"""`churn actions`: whom to call this month, why, and whom to leave alone."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from churn.cli.arguments import writable
from churn.cli.screen import as_the_person_has_it, err, out
from churn.errors import ChurnError
from churn.months import Month

if TYPE_CHECKING:
    from rich.table import Table


def actions(
    month: Annotated[str, typer.Option(metavar="YYYY-MM", help="The month that was scored.")],
    file: Annotated[
        Path | None, typer.Option("--out", help="Write the whole list to this CSV file.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many of the list to show.")] = 20,
) -> None:
    """Show a month's action list, the most profitable call first, and write it as CSV.

    Leave the group `control` alone: without it nobody can say what the calls have brought. What was
    done comes back by `churn treatments`.

    **Examples**

    - `churn actions --month 2024-05`
    - `churn actions --month 2024-05 --out calls.csv`
    """
    from churn.cli.progress import running
    from churn.scoring.actions import read_actions, write_actions

    chosen = Month.parse(month)
    if file:
        with as_the_person_has_it():
            file.parent.mkdir(parents=True, exist_ok=True)
        writable(file)
    with running("postgres"):
        rows = read_actions(chosen)
    if not rows:
        raise ChurnError(
            "nobody is on an action list of this month",
            where=str(chosen),
            remedy="it is made when the month is closed, once a release is in force: `churn ledger`",
        )
    if file:
        with as_the_person_has_it():
            write_actions(rows, file)
        out().print(f"{_counts(rows)}, in {file}")
        return
    out().print(_table(rows[:top]))
    err().print(f"{_counts(rows)}; {min(top, len(rows))} shown, `--out FILE` writes all")


def _counts(rows: list[dict[str, Any]]) -> str:
    control = sum(row["treatment_group"] == "control" for row in rows)
    return f"{len(rows):,} users: {len(rows) - control:,} to treat, {control:,} to leave alone"


def _table(rows: list[dict[str, Any]]) -> "Table":
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("rank", "user", "group", "probability", "profit", "why"):
        table.add_column(name, no_wrap=name != "why")
    for row in rows:
        reasons = [row[f"reason_{n}"] for n in (1, 2, 3)]
        table.add_row(
            f"{row['rank']}",
            escape(row["user_id"]),
            row["treatment_group"],
            f"{row['probability']:.3f}",
            f"{row['expected_profit']:.2f}",
            escape("\n".join(reason for reason in reasons if reason)),
        )
    return table
