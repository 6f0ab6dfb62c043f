"""`churn generate`: drops of the public base population."""

from pathlib import Path
from typing import Annotated

import typer

from churn.cli.screen import as_the_person_has_it, err, out


def generate(
    folder: Annotated[Path, typer.Option("--out", help="Where the month_NNN folders go.")],
    users: Annotated[
        int | None,
        typer.Option(min=1, help="Size of the population; without it, the public 7,043 users."),
    ] = None,
    months: Annotated[int, typer.Option(min=1, help="How many months, one drop each.")] = 12,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 42,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace other drops that lie in the folder.")
    ] = False,
) -> None:
    """Write the monthly drops of a population, made from the public IBM Telco benchmark.

    The newest month has no labels yet, as in life: who will leave in it is not known. `oracle/`
    beside the drops holds the true probabilities; no model may see it.

    **Examples**

    - `churn generate --out drops`
    - `churn generate --users 100000 --months 24 --seed 7 --out big`
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from churn.population.base import SIZE
    from churn.population.drops import ORACLE, write_drops
    from churn.settings import get_settings

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=err()) as bar, as_the_person_has_it():
        task = bar.add_task("months", total=months)
        drops = write_drops(
            folder,
            first=get_settings().first_month,
            users=users or SIZE,
            months=months,
            seed=seed,
            overwrite=overwrite,
            on_month=lambda _: bar.advance(task),
        )
    out().print(f"{len(drops)} drops in {folder}: {drops[0].name} to {drops[-1].name}")
    err().print(f"next: `churn run --drops {folder}`")
    err().print(f"with CHURN_ORACLE={folder / ORACLE} the check no_leak knows the truth, too")
