"""`churn rollback`: go back to the release before the one in force, whole."""

from typing import Annotated

import typer

from churn.cli.screen import out


def rollback(
    reason: Annotated[str, typer.Option(help="Why; it is kept in the ledger.")],
) -> None:
    """Restore the release before the one in force: its model, threshold and feature service.

    The API serves it within five seconds, without a restart. A second rollback goes one release
    further back.

    **Example**

    - `churn rollback --reason "complaints about calls to users who stay"`
    """
    from churn.cli.progress import running
    from churn.promotion.by_hand import operator
    from churn.promotion.by_hand import rollback as roll_back
    from churn.promotion.show import said_of_action

    with running("postgres", "mlflow"):
        entry = roll_back(reason=reason, actor=operator())
    out().print(said_of_action(entry))
