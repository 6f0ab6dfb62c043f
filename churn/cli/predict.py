"""`churn predict`: ask the running API about one user."""

import json
from typing import Annotated, Any

import typer

from churn.cli.screen import out
from churn.errors import ChurnError


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

    url = f"{get_settings().smoke_url}/predict"
    try:  # a prediction changes nothing, so it may be asked for again
        answer = repeat(httpx.post, url, json={"user_id": user_id}, timeout=10, trust_env=False)
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
