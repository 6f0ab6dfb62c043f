"""Months put through the stages without Dagster, for tests of what watches over them."""

from churn.contract.features import VIEWS
from churn.contract.tables import PROFILE_TABLES
from churn.deliveries.ledger import accepted
from churn.lake import write_view
from churn.months import Month
from churn.online import publish
from churn.raw import load_raw
from churn.snapshots import build_snapshot


def close(month: Month) -> None:
    """Do what `month_close` does with an accepted drop, up to the online store."""
    for table in PROFILE_TABLES:
        if accepted(month, table) or not table.optional:
            load_raw(month, table)
        build_snapshot(month, table)
    for view in VIEWS:
        write_view(month, view)
    publish(month)
