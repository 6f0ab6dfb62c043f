"""The one partitioning of the graph: a month."""

import dagster as dg

from churn.settings import Settings, get_settings


def monthly_partitions(settings: Settings) -> dg.MonthlyPartitionsDefinition:
    """Return one partition per month from CHURN_FIRST_MONTH to CHURN_LAST_MONTH (open if unset)."""
    last = settings.last_month
    return dg.MonthlyPartitionsDefinition(
        start_date=settings.first_month.partition_key,
        end_date=last.next.partition_key if last else None,
    )


MONTHS = monthly_partitions(get_settings())
