"""`churn treatments`: load back what was done to the users of an action list."""

from pathlib import Path
from typing import Annotated

import typer

from churn.cli.screen import err, out


def treatments(
    file: Annotated[
        Path,
        typer.Argument(help="A CSV file: month, user_id, treated_at, channel and, if any, offer."),
    ],
) -> None:
    """Load what was done to whom; all of the file or nothing of it.

    One file for each month, one row for each user; a user must be on that month's action list, and the
    day in the month after it. The same file again changes nothing; a row that says something else
    replaces the old one. A user of the control group who was treated is taken in and named: a breach.
    Where the labels of the month are there, what the calls brought is said at once.

    **Example**

    - `churn treatments calls-2024-05.csv`
    """
    from rich.markup import escape

    from churn.cli.progress import running
    from churn.database.init import prepare_schema
    from churn.scoring.treatments import load_treatments
    from churn.scoring.uplift import measure_uplift, sentence

    with running("postgres"):
        prepare_schema()
        loaded = load_treatments(file)
        so_far = sentence(measure_uplift(loaded.month))
    out().print(
        f"{loaded.month}: {loaded.new:,} new, {loaded.changed:,} changed,"
        f" {loaded.unchanged:,} unchanged"
    )
    out().print(escape(so_far), soft_wrap=True)
    if loaded.breaches:
        named = ", ".join(loaded.breaches[:5]) + (", ..." if len(loaded.breaches) > 5 else "")
        err().print(
            f"[yellow]{len(loaded.breaches):,} of the control group were treated: {named};"
            " the estimate of what the calls brought shrinks by it[/yellow]",
            soft_wrap=True,
        )
