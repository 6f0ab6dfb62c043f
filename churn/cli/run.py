"""`churn run` and `churn train`: months through the graph, in this process."""

import datetime as dt
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from churn.cli.screen import as_the_person_has_it, err, instant, month_or_none, out, writable
from churn.months import Month
from churn.settings import kept_drops


def run(
    drops: Annotated[
        Path | None,
        typer.Option(
            help="A folder of month_NNN drops, or one drop; if unset, the drops of the project that"
            " `churn new` made, or the months that were delivered before, as far as they are not done."
        ),
    ] = None,
    from_month: Annotated[
        str | None,
        typer.Option("--from", help="First month, as 2024-01; the first drop's if unset."),
    ] = None,
    to_month: Annotated[
        str | None, typer.Option("--to", help="Last month, as 2024-06; the last drop's if unset.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write one record per month and service here.")
    ] = None,
) -> None:
    """Deliver drops and put them through the graph: raw tables to online features, labels to models.

    Runs on the stack that is up; otherwise starts what it needs (Postgres, MLflow, the API) and stops
    it at the end. A refused drop is left out: the other months are processed, and it leaves a gap. What
    failed is tried once more, and what waited behind it is done. The exit status is 0 only if no drop was
    refused, every job succeeded in the end, and every blocking check and the API's smoke check passed.

    **Examples**

    - `churn generate --months 6 --out drops && churn run --drops drops --json out.json`
    - `churn run --from 2024-03 --to 2024-03` (delivered before; its close had failed)
    """
    from churn.cli.deliver import show_refused, show_strays
    from churn.cli.progress import running, stage_bars
    from churn.cli.summary import show_summary
    from churn_assets.batch import chosen_drops, run_due_months, run_months

    console = out()
    first, last = month_or_none(from_month), month_or_none(to_month)
    drops = drops or kept_drops()
    chosen = chosen_drops(drops, first, last) if drops else []
    writable(json_file)
    if drops:
        show_strays(drops)
    with running("postgres", "mlflow", "api"):
        with stage_bars(console) as move:
            outcome = run_months(chosen, move) if drops else run_due_months(first, last, move)
        if outcome.months:
            show_summary(console, outcome)
    show_refused(outcome.refused, outcome.months, "processed")
    if json_file:
        with as_the_person_has_it():
            json_file.write_text(json.dumps(outcome.models, indent=2) + "\n", encoding="utf-8")
    raise typer.Exit(0 if outcome.succeeded else 1)


def train(
    month: Annotated[str, typer.Option(help="The label period, as 2024-01.")],
    as_known: Annotated[
        str | None,
        typer.Option(
            "--as-known",
            help="Build the training set as known on this date (2024-05-10) instead; it is kept beside"
            " the month's own, and its models are registered but never champion.",
        ),
    ] = None,
) -> None:
    """Train the models of one month whose labels have matured.

    **Example**

    - `churn train --month 2024-01`
    """
    from churn.cli.progress import running
    from churn_assets.liveness import end_dead_runs
    from churn_assets.run import instance, run_job

    console = out()
    chosen, known_by = Month.parse(month), instant(as_known) if as_known is not None else None
    with running("postgres", "mlflow"):
        if known_by:
            models = _train_as_known(chosen, known_by)
        else:
            with instance() as dagster:
                end_dead_runs(dagster)
                job = run_job("train_month", chosen, dagster)
            for warning in job.warnings:
                err().print(f"[yellow]{escape(warning)}[/yellow]", soft_wrap=True)
            for failure in job.failures:
                console.print(f"[red]{escape(failure)}[/red]", soft_wrap=True)
            if not job.succeeded:
                raise typer.Exit(1)
            from churn.model.train import trained_models

            models = [model.as_row() for model in trained_models(chosen)]
    console.print_json(json.dumps(models))


def _train_as_known(month: Month, known_by: dt.datetime) -> list[dict[str, object]]:
    from churn.model.train import train_models

    models = train_models(month, as_known=known_by)
    return [model.as_row() for model in models.baselines]
