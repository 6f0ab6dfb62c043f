"""Group `reports`: the report of a month, for people; its text is `churn.report`."""

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
    """The month on one page, `reports/<month>.md` and `.html`: data, models, decision, scores, drift, proof.

    It is generated from Postgres, MLflow and the running API. Where a month's labels have not matured, it
    says so in place of the model.
    """
    path, text = write_report(step.month, EXAMPLE_USER)
    metadata = {
        "dagster/uri": path.as_uri(),
        "html": dg.MetadataValue.url(path.with_suffix(".html").as_uri()),
        "report": dg.MetadataValue.md(text),
    }
    fingerprint = hashlib.sha256(text.encode()).hexdigest()
    return MonthResult(len(text.splitlines()), fingerprint, metadata)
