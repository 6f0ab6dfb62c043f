"""Months through the Dagster graph, as by `churn run`, beside a running API."""

import datetime as dt
import logging
from pathlib import Path

from churn.errors import ChurnError
from churn.months import Month


def through_graph(drops: list[tuple[Month, Path]]) -> tuple[float, dict[str, float]]:
    """Put months through the whole graph; return the seconds that it took, and those of each job.

    Raises:
        ChurnError: a step or a blocking check failed.
    """
    from churn_assets.batch import run_months

    # The bench shows its own progress.
    logging.disable(logging.INFO)
    outcome = run_months(drops, lambda *_: None)
    if not outcome.succeeded:
        failures = [
            f"{job.job} {job.month}: {failure}" for job in outcome.jobs for failure in job.failures
        ]
        raise ChurnError("; ".join(failures), where="the graph")
    return outcome.elapsed, outcome.seconds


def arrival(month: Month) -> dt.datetime:
    """Return when the bench delivers a month: after its labels have matured, before the next month's drop."""
    return month.matures_at + dt.timedelta(hours=6)
