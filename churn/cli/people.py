"""The console's door: `churn console` prints a link that signs in once; `churn person` says who else may."""

import sys
from enum import StrEnum
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from churn.cli.screen import err, out
from churn.errors import ChurnError

person = typer.Typer(
    no_args_is_help=True,
    help="""Who may sign in to the console with a password, and in which role.

    **Examples**

    - `churn person add ann --role caller`
    - `churn person list`
    - `churn person remove ann`
    """,
)


class RoleName(StrEnum):
    """The roles, each of which may do what those before it may."""

    VIEWER = "viewer"
    CALLER = "caller"
    APPROVER = "approver"
    ADMINISTRATOR = "administrator"


def sign_in_link() -> str:
    """Return an address that signs whoever is at this keyboard in to the console, once, within a day."""
    from churn.database import connect
    from churn.promotion.by_hand import operator
    from churn.settings import get_settings
    from console.people import make_link
    from console.roles import Role

    with connect() as connection:
        token = make_link(connection, operator(), Role.ADMINISTRATOR)
    return f"{get_settings().console_address}/sign-in?token={token}"


def console() -> None:
    """Print a link that opens the console and signs you in, as an administrator.

    It works once, within a day. Whoever has it is you, so it is for your own browser: `churn person add`
    lets others in.

    **Example**

    - `churn console`
    """
    typer.echo(sign_in_link())


@person.command("add")
def add(
    name: Annotated[str, typer.Argument(help="What the person signs in as.")],
    role: Annotated[
        RoleName,
        typer.Option(
            help="viewer looks at pages; caller exports lists and reports calls, too; approver decides on"
            " releases and saves campaigns, too; administrator may do everything."
        ),
    ],
) -> None:
    """Let somebody sign in, or give them another role and password; the password is asked for.

    Their sessions end. From a script, the password is the first line of the standard input.

    **Example**

    - `churn person add ann --role caller`
    """
    from churn.database import connect
    from churn.promotion.by_hand import operator
    from console.people import add_person
    from console.roles import Role

    password = _password()
    with connect() as connection:
        add_person(connection, name, Role.named(role), password, by=operator())
    err().print(f"{name} may sign in as {role}", markup=False)


@person.command("list")
def list_() -> None:
    """Show who may sign in with a password."""
    from churn.database import connect
    from console.people import people

    with connect() as connection:
        known = people(connection)
    table = Table("name", "role", "since", box=None, pad_edge=False)
    for each in known:
        table.add_row(escape(each.person), str(each.role), f"{each.recorded_at:%Y-%m-%d}")
    out().print(table)


@person.command("remove")
def remove(name: Annotated[str, typer.Argument(help="As `churn person list` shows it.")]) -> None:
    """Let somebody in no longer; their sessions end at once."""
    from churn.database import connect
    from churn.promotion.by_hand import operator
    from console.people import remove_person

    with connect() as connection:
        remove_person(connection, name, by=operator())
    err().print(f"{name} may not sign in any longer", markup=False)


def _password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    password: str = typer.prompt("Password", hide_input=True)
    if typer.prompt("Once more", hide_input=True) != password:
        raise ChurnError("the two are not the same", remedy="try again")
    return password
