"""`churn generate` writes drops of a simulated population; `churn simulate` plays two years of it."""

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from churn.cli.screen import as_the_person_has_it, err, out, writable
from churn.population.scenario import LEAST_MONTHS, MONTHS
from churn.settings import get_settings, keep_settings

if TYPE_CHECKING:
    from churn_assets.simulation import Happened


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


PLAYED = "drops_played"


def simulate(
    users: Annotated[int, typer.Option(min=500, help="Users per month.")] = 2000,
    months: Annotated[
        int,
        typer.Option(min=LEAST_MONTHS, max=MONTHS, help="Months to play; fewer take less time."),
    ] = MONTHS,
    seed: Annotated[int, typer.Option(help="Seed of the population.")] = 42,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the timeline here, a row per month.")
    ] = None,
) -> None:
    """Play two years with a price rise, a changed label process, a late, a corrected and a lost drop.

    Every month goes through the real graph when it arrives, on a stack of its own in the folder
    `simulation` of the state folder, which is emptied first; nothing of yours is touched. Prints what was
    planted, what noticed it, and what the gate decided on that month's labels. With fewer months, the same
    troubles follow each other more closely. The exit status is 1 where nothing noticed what was planted, or
    where something else failed.

    **Example**

    - `churn simulate --json timeline.json`
    - `churn simulate --months 12 --users 1000`
    """
    console = out()
    writable(json_file)
    _state_of_its_own(months)
    from churn.cli.progress import running, stage_bars
    from churn.cli.summary import show_failed
    from churn.population.scenario import Troubles
    from churn_assets.simulation import as_json
    from churn_assets.simulation import simulate as play

    with running("postgres", "mlflow", "api"), stage_bars(console) as move:
        played = play(
            get_settings().home / PLAYED,
            Troubles.within(months),
            users=users,
            seed=seed,
            on_progress=move,
        )
    rows = played.rows
    console.print(_table(rows))
    if json_file:
        with as_the_person_has_it():
            json_file.write_text(json.dumps(as_json(rows), indent=2) + "\n", encoding="utf-8")
    missed = [row for row in rows if row.planted and not row.detected_by]
    for row in missed:
        console.print(f"[red]{row.month}: nothing noticed the {row.planted}[/red]")
    show_failed(console, played.failed, played.behind)
    raise typer.Exit(1 if missed or played.failed else 0)


def _state_of_its_own(months: int) -> None:
    """Point the settings at an empty state folder, and at no server that runs already."""
    from churn.population.drops import ORACLE
    from churn.stack.processes import free_port

    home = get_settings().home / "simulation"
    first = get_settings().first_month
    shutil.rmtree(home, ignore_errors=True)
    for name in [name for name in os.environ if name.startswith(("POSTGRES_", "PG"))]:
        del os.environ[name]
    own = ("CHURN_LAST_MONTH", "CHURN_ORACLE")
    for name in ("MLFLOW_TRACKING_URI", "CHURN_API_URL", "DAGSTER_HOME", "CHURN_DROPS", *own):
        os.environ.pop(name, None)
    for name in ("MLFLOW_PORT", "API_PORT"):
        os.environ[name] = str(free_port())
    os.environ["CHURN_HOME"] = str(home)
    # Kept in the state folder, so that `churn up` shows these months as they were played.
    last = str(first.shift(months - 1))
    keep_settings({"CHURN_LAST_MONTH": last, "CHURN_ORACLE": str(home / PLAYED / ORACLE)})
    get_settings.cache_clear()


def _table(rows: "list[Happened]") -> Table:
    table = Table(title=f"{len(rows)} months")
    for name in ("month", "planted", "detected by", "decision"):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(row.month, row.planted, row.detected_by, row.decision)
    return table
