"""Months put through the stages without Dagster, for tests of what watches over them."""

from churn.contract.in_force import PROFILE_TABLES, VIEWS
from churn.deliveries.ledger import accepted
from churn.lake.files import write_view
from churn.months import Month
from churn.online.publish import publish
from churn.warehouse.raw import load_raw
from churn.warehouse.snapshots import build_snapshot


def close(month: Month) -> None:
    """Do what `month_close` does with an accepted drop, up to the online store."""
    for table in PROFILE_TABLES:
        if accepted(month, table) or not table.optional:
            load_raw(month, table)
        build_snapshot(month, table)
    for view in VIEWS:
        write_view(month, view)
    publish(month)
