"""Using scores: `churn predict`, `churn actions`, and `churn treatments`, which loads what was done."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from churn.cli.screen import as_the_person_has_it, err, out, writable
from churn.errors import ChurnError
from churn.months import Month

if TYPE_CHECKING:
    from rich.table import Table


def predict(
    user_id: Annotated[str, typer.Argument(help="The user, as in your exports.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the API's answer as it is.")
    ] = False,
) -> None:
    """Ask the running API whether a user will leave within the following month.

    **Examples**

    - `churn predict 7590-VHVEG`
    - `churn predict 7590-VHVEG --json`
    """
    answer = _ask(user_id)
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
        return
    from rich.markup import escape
    from rich.table import Table

    verdict = "[red]leaves[/red]" if answer["prediction"] else "[green]stays[/green]"
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("user", escape(answer["user_id"]))
    table.add_row("prediction", f"{answer['prediction']} ({verdict} within the following month)")
    table.add_row("probability", f"{answer['probability']:.4f} (threshold {answer['threshold']:g})")
    table.add_row("model version", str(answer["model_version"]))
    table.add_row("features as of", answer["as_of"])
    for name, value in answer["features_used"].items():
        table.add_row(f"  {name}", "unknown" if value is None else escape(str(value)))
    out().print(table)


def _ask(user_id: str) -> dict[str, Any]:
    import httpx

    from churn.retry import repeat
    from churn.settings import get_settings

    settings = get_settings()
    url = f"{settings.smoke_url}/predict"
    try:
        # A prediction changes nothing, so the request may be repeated.
        answer = repeat(
            httpx.post, url, json={"user_id": user_id}, headers=settings.api_headers, timeout=10,
            trust_env=False,
        )  # fmt: skip
        body: dict[str, Any] = answer.json()
        if answer.status_code != 200:
            raise ChurnError(body["error"]["message"], where=f"{url} answers {answer.status_code}")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ChurnError(
            f"the API does not answer ({error})",
            where=url,
            remedy="start it with `churn up`, or name another by CHURN_API_URL",
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ChurnError(
            f"something else than the API answers there, with status {answer.status_code}",
            where=url,
            remedy="name the API's address by CHURN_API_URL, or another port by API_PORT",
        ) from error
    return body


def actions(
    month: Annotated[str, typer.Option(metavar="YYYY-MM", help="The month that was scored.")],
    file: Annotated[
        Path | None, typer.Option("--out", help="Write the whole list to this CSV file.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many of the list to show.")] = 20,
) -> None:
    """Show a month's action list, the most profitable call first, and write it as CSV.

    Leave the group `control` alone: without it, the effect of the calls cannot be measured. Load back what
    was done with `churn treatments`.

    **Examples**

    - `churn actions --month 2024-05`
    - `churn actions --month 2024-05 --out calls.csv`
    """
    from churn.cli.progress import running
    from churn.scoring.action_file import write_actions
    from churn.scoring.actions import read_actions

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


def treatments(
    file: Annotated[
        Path,
        typer.Argument(
            help="A CSV file: month, user_id, treated_at, channel; offer, outcome if any."
        ),
    ],
) -> None:
    """Load what was done to whom; all of the file or nothing of it.

    One file for each month, one row for each user; a user must be on that month's action list, and the
    day in the month after it. The same file again changes nothing; a row that differs replaces the old
    one. A user of the control group who was treated is taken in, and named as a breach. A list that the
    console exported may come back filled in; who was not treated stays blank there. Where the labels of the
    month are there, the effect of the calls is shown at once.

    **Example**

    - `churn treatments calls-2024-05.csv`
    """
    from rich.markup import escape

    from churn.cli.progress import running
    from churn.database.init import prepare_schema
    from churn.promotion.by_hand import operator
    from churn.scoring.treatments import load_treatments
    from churn.scoring.uplift import record_uplift, sentence

    with running("postgres"):
        prepare_schema()
        loaded = load_treatments(file, actor=operator())
        so_far = sentence(record_uplift(loaded.month))
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
