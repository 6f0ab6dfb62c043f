"""What people ask for on the console, carried out here: where the models and the ledger can be reached."""

from datetime import UTC, datetime

import dagster as dg

from churn.promotion.requests import carry_out_requests


@dg.sensor(
    name="requests",
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Carries out what approvers ask for on the console's page Trust: to promote a version or to roll "
        "back, as `churn promote` and `churn rollback` do. The ledger names who asked, and why."
    ),
)
def requests(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Carry out what was asked for; it launches nothing."""
    outcomes = carry_out_requests(now=datetime.now(UTC))
    for text in outcomes:
        context.log.info(text)
    return dg.SkipReason("\n".join(outcomes) or "nothing was asked for")
