"""Months through the Dagster graph, as `churn run` puts them there, beside a running API."""

import datetime as dt
import logging
from pathlib import Path

from churn.deliveries import deliver
from churn.errors import ChurnError
from churn.months import Month
from churn.settings import get_settings


def month_through_graph(month: Month, drop: Path) -> None:
    """Deliver one month, close it, train on it and score it.

    Raises:
        ChurnError: a step or a blocking check failed.
    """
    from churn_assets.run import instance, run_job

    logging.disable(logging.INFO)  # the bench has its own progress
    deliver(drop, settings=get_settings(), now=arrival(month), month=month)
    with instance() as found:
        for job in ("month_close", "train_month", "score_month"):
            result = run_job(job, month, found)
            if not result.succeeded:
                raise ChurnError("; ".join(result.failures), where=f"{job} {month}")


def arrival(month: Month) -> dt.datetime:
    """Return when the bench delivers a month: once its labels have matured, before the next month's drop."""
    return month.matures_at + dt.timedelta(hours=6)
