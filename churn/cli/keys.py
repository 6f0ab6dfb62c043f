"""The API's door: `churn key` says which programs may ask it, and for what."""

import datetime as dt
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from churn.cli.screen import err, out
from churn.errors import ChurnError

if TYPE_CHECKING:
    from churn.api_keys import Scope

key = typer.Typer(
    no_args_is_help=True,
    help="""Which programs may ask the API, where it asks for keys (CHURN_API_KEYS=required).

    A program sends its key with each request, as `Authorization: Bearer KEY`.

    **Examples**

    - `churn key add crm --scope features,predict`
    - `churn key list`
    - `churn key remove crm`
    """,
)


@key.command("add")
def add(
    name: Annotated[str, typer.Argument(help="Whose key it is.")],
    scope: Annotated[
        str,
        typer.Option(
            help="What it may be used for, comma-separated: features, predict, explain, metrics; or admin,"
            " which is all of these."
        ),
    ],
    expires_on: Annotated[
        str | None,
        typer.Option(metavar="YYYY-MM-DD", help="The last day, in UTC, on which it is let in."),
    ] = None,
) -> None:
    """Make a key and print it: now and never again, since only its hash is kept.

    **Example**

    - `churn key add crm --scope features,predict --expires-on 2027-06-30`
    """
    from churn.api_keys import add_key
    from churn.database import connect
    from churn.promotion.by_hand import operator
    from console.acts import Act, record

    scopes, last_day = _scopes(scope), _day(expires_on)
    with connect() as connection:
        new_key = add_key(connection, name, scopes, last_day)
        record(connection, Act.KEY_ADDED, operator(), subject=name, scopes=[*map(str, scopes)])
    err().print(f"{name} may ask for {', '.join(scopes)} by this key:", markup=False)
    typer.echo(new_key)


@key.command("list")
def list_() -> None:
    """Show the keys: of each its beginning, and the day on which it was used last."""
    from churn.api_keys import api_keys
    from churn.database import connect

    with connect() as connection:
        known = api_keys(connection)
    columns = ("name", "begins with", "scopes", "since", "expires on", "last used on")
    table = Table(*columns, box=None, pad_edge=False)
    for each in known:
        table.add_row(
            escape(each.name),
            escape(each.beginning),
            ", ".join(each.scopes),
            f"{each.recorded_at:%Y-%m-%d}",
            str(each.expires_on or "never"),
            str(each.last_used_on or "never"),
        )
    out().print(table)


@key.command("remove")
def remove(name: Annotated[str, typer.Argument(help="As `churn key list` shows it.")]) -> None:
    """Let a key in no longer; the running API notices within seconds."""
    from churn.api_keys import remove_key
    from churn.database import connect
    from churn.promotion.by_hand import operator
    from console.acts import Act, record

    with connect() as connection:
        remove_key(connection, name)
        record(connection, Act.KEY_REMOVED, operator(), subject=name)
    err().print(f"the key of {name} is let in no longer", markup=False)


def _scopes(text: str) -> "list[Scope]":
    from churn.api_keys import Scope

    names = [name.strip() for name in text.split(",") if name.strip()]
    known = [str(each) for each in Scope]
    if not names or set(names) - set(known):
        raise ChurnError(
            f"{text!r} names no scopes", where="--scope", remedy=f"choose from {', '.join(known)}"
        )
    return [each for each in Scope if each in names]


def _day(text: str | None) -> dt.date | None:
    try:
        return dt.date.fromisoformat(text) if text else None
    except ValueError as error:
        raise ChurnError(
            f"{text!r} is no day", where="--expires-on", remedy="write it as 2027-06-30"
        ) from error
