"""The month-close schedule: it launches nothing, it says which drops are late and which months failed."""

import dagster as dg

from churn.contract.tables import USERS
from churn.due import sentences
from churn.intake import late_months
from churn.months import Month
from churn_assets.due import look_at
from churn_assets.jobs import month_close


@dg.schedule(
    job=month_close,
    cron_schedule="0 6 3 * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description=(
        "On the third of each month: names the closed months whose drop has not been accepted, here and "
        "as an observation on `users`, and what has failed or waits behind what failed. Runs are requested "
        "by sensors alone."
    ),
)
def late_drops(context: dg.ScheduleEvaluationContext) -> dg.SkipReason:
    """Report the closed months without an accepted drop, as of the tick."""
    last_closed = Month.of_as_of(context.scheduled_execution_time).shift(-1)
    late = late_months(last_closed)
    for month in late:
        context.instance.report_runless_asset_event(
            dg.AssetObservation(
                USERS.name,
                partition=month.partition_key,
                description=f"the drop of {month} is late",
                metadata={"late": True, "closed_on": str(month.as_of_date)},
            )
        )
    said = f"every drop up to {last_closed} is here"
    if late:
        said = f"late drops: {', '.join(map(str, late))}; deliver them: churn deliver DIR"
    return dg.SkipReason("\n".join([said, *sentences(look_at(context.instance))]))
