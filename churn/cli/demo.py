"""`churn demo`: the whole system on the public base population, in one command."""

import contextlib
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from churn.cli.people import sign_in_link
from churn.cli.screen import out
from churn.months import Month, months_between
from churn.settings import get_settings, keep_settings

if TYPE_CHECKING:
    import httpx

    from churn_assets.batch import OnProgress

EXAMPLE_USER = "7590-VHVEG"


def demo(
    months: Annotated[
        int, typer.Option(min=2, help="Months to play; the newest has no labels.")
    ] = 12,
    users: Annotated[int, typer.Option(min=500, help="Users per month.")] = 7043,
    seed: Annotated[int, typer.Option(help="Seed of the population.")] = 42,
    exit_: Annotated[
        bool,
        typer.Option("--exit", help="Stop everything at the end instead of waiting for Ctrl-C."),
    ] = False,
) -> None:
    """Start the stack, put the public population through the graph month by month, and show the answers.

    All of it stays up until Ctrl-C, and the console's link, which signs you in once, stands first. With
    --exit everything is stopped at the end, and the exit status is 0 only if every step and check passed.

    **Example**

    - `churn demo --months 6 --exit`
    """
    from churn.population.drops import ORACLE

    settings = get_settings()
    last = settings.first_month.shift(months - 1)
    folder = _drops_of(users, seed, months)
    # Without a last month, the UI would show every month until today as missing; and the check no_leak needs
    # to know where the truth is. Both are kept for a later `churn up` on the same state.
    keep_settings({"CHURN_LAST_MONTH": str(last), "CHURN_ORACLE": str(folder / ORACLE)})
    get_settings.cache_clear()

    from churn.cli.progress import running, stage_bars
    from churn.cli.summary import show_summary

    console = out()
    with running():
        with stage_bars(console) as move:
            _generate(folder, settings.first_month, months, users, seed, move)
            from churn_assets.batch import chosen_drops, run_months

            outcome = run_months(chosen_drops(folder, None, None), move)
        show_summary(console, outcome)
        answered = _show_answers(console)
        _show_addresses(console)
        if not exit_:
            _wait(console)
    raise typer.Exit(0 if outcome.succeeded and answered else 1)


def _drops_of(users: int, seed: int, months: int) -> Path:
    # Not in the watched folder, since this command itself puts the months through the graph.
    return get_settings().home / "demo" / f"{users}-users-seed-{seed}-{months}-months"


def _generate(
    folder: Path, first: Month, months: int, users: int, seed: int, move: "OnProgress"
) -> None:
    from churn.population.drops import write_drops

    due = list(months_between(first, first.shift(months - 1)))
    move("generate", 0, months, "")
    write_drops(
        folder,
        first=first,
        users=users,
        months=months,
        seed=seed,
        on_month=lambda month: move("generate", due.index(month) + 1, months, str(month)),
    )
    move("generate", months, months, "")


def _show_answers(console: Console) -> bool:
    """Ask the API for the worked example, as anybody may; return whether both answers succeeded."""
    import httpx

    settings = get_settings()
    api = settings.smoke_url
    features = httpx.get(f"{api}/features/{EXAMPLE_USER}", headers=settings.api_headers, timeout=30)
    prediction = _predict(api)
    console.print(f"\n[bold]GET {api}/features/{EXAMPLE_USER}[/bold]  {features.status_code}")
    console.print_json(features.text)
    console.print(f"[bold]POST {api}/predict[/bold]  {prediction.status_code}")
    console.print_json(prediction.text)
    return features.is_success and prediction.is_success


def _predict(api: str) -> "httpx.Response":
    """Ask for a prediction, for up to 30 seconds: the API takes some to notice its first champion."""
    import httpx

    deadline = time.monotonic() + 30
    while True:
        answer = httpx.post(
            f"{api}/predict",
            json={"user_id": EXAMPLE_USER},
            headers=get_settings().api_headers,
            timeout=30,
        )
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE or time.monotonic() > deadline:
            return answer
        time.sleep(0.5)


def _show_addresses(console: Console) -> None:
    settings = get_settings()
    console.print(f"\nConsole  {sign_in_link()}", soft_wrap=True)
    console.print(f"Dagster  http://127.0.0.1:{settings.dagster_port}")
    console.print(f"MLflow   http://127.0.0.1:{settings.mlflow_port}")
    console.print(f"API      {settings.smoke_url}/docs")


def _wait(console: Console) -> None:
    console.print("\nAll of it stays up until Ctrl-C.")
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()
    console.print("stopping ...")
