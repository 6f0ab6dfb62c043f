"""`churn promote`: make a registered version the release in force, by hand and with a reason."""

from typing import Annotated

import typer

from churn.cli.screen import out


def promote(
    version: Annotated[str, typer.Argument(help="The version of the registered model in MLflow.")],
    reason: Annotated[str, typer.Option(help="Why; it is kept in the ledger.")],
) -> None:
    """Make a registered version the release in force; the API serves it within five seconds.

    The gate is not asked. Decisions that come after it judge their challengers against this release.

    **Example**

    - `churn promote 7 --reason "the champion scores the new tariff wrongly"`
    """
    from churn.cli.progress import running
    from churn.promotion.by_hand import operator
    from churn.promotion.by_hand import promote as promote_by_hand
    from churn.promotion.cards import write_missing_cards
    from churn.promotion.show import said_of_action

    with running("postgres", "mlflow"):
        entry = promote_by_hand(version, reason=reason, actor=operator())
        write_missing_cards()
    out().print(said_of_action(entry))
