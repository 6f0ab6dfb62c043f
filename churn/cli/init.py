"""`churn init`: databases and tables, before any service runs."""

from typing import Annotated

import typer

from churn.cli.screen import err


def init(
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Make only this one ready: streamflow, dagster or mlflow; may be repeated.",
        ),
    ] = None,
) -> None:
    """Create databases and tables, and bring those that hold data up to this version; safe to run again.

    What the contract has got since the last time, such as a column, is added while the API serves. What
    would lose data is refused, and then nothing is changed.

    `churn up` does this by itself. On a server it is the step before the services, since three of
    them starting at once on an empty database would spoil each other's migrations. Where
    API_POSTGRES_PASSWORD is set, the API's role is made, too: it may read what the API serves.

    **Example**

    - `POSTGRES_HOST=db POSTGRES_PASSWORD=... churn init`
    """
    from churn.database.init import SERVICES, initialise

    services = tuple(only or SERVICES)
    initialise(services)
    err().print(f"ready: {', '.join(services)}")
