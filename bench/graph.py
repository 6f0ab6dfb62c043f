"""Months through the Dagster graph, as `churn run` puts them there, beside a running API."""

import datetime as dt
import logging
from pathlib import Path

from churn.errors import ChurnError
from churn.months import Month


def through_graph(drops: list[tuple[Month, Path]]) -> tuple[float, dict[str, float]]:
    """Put months through the whole graph at once; return the seconds it took, and those of each job.

    Raises:
        ChurnError: a step or a blocking check failed.
    """
    from churn_assets.batch import run_months

    logging.disable(logging.INFO)  # the bench has its own progress
    outcome = run_months(drops, lambda *_: None)
    if not outcome.succeeded:
        failures = [
            f"{job.job} {job.month}: {said}" for job in outcome.jobs for said in job.failures
        ]
        raise ChurnError("; ".join(failures), where="the graph")
    return outcome.elapsed, outcome.seconds


def arrival(month: Month) -> dt.datetime:
    """Return when the bench delivers a month: once its labels have matured, before the next month's drop."""
    return month.matures_at + dt.timedelta(hours=6)
