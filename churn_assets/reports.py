"""Group `reports`: what a month did, for people."""

import hashlib

import dagster as dg

from churn.report import write_report
from churn_assets.monthly import MonthResult, MonthStep, monthly_asset

EXAMPLE_USER = "7590-VHVEG"


def report_assets() -> list[dg.AssetsDefinition]:
    """Return the monthly report's asset."""
    return [
        monthly_asset(
            "monthly_report",
            monthly_report,
            group="reports",
            kinds={"markdown"},
            deps=[
                "online_features",
                "champion",
                "action_list",
                "feature_drift",
                "model_performance",
                "uplift",
            ],
        )
    ]


def monthly_report(step: MonthStep) -> MonthResult:
    """The month on a page, `reports/<month>.md` and `.html`: data, models, decision, scores, drift, proof.

    Generated from Postgres, MLflow and the running API, never typed. A month whose labels have not
    matured says so where its model would stand.
    """
    path, text = write_report(step.month, EXAMPLE_USER)
    metadata = {
        "dagster/uri": path.as_uri(),
        "html": dg.MetadataValue.url(path.with_suffix(".html").as_uri()),
        "report": dg.MetadataValue.md(text),
    }
    fingerprint = hashlib.sha256(text.encode()).hexdigest()
    return MonthResult(len(text.splitlines()), fingerprint, metadata)
