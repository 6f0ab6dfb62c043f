"""The entry point for Dagster: `defs`, put together from the groups of assets."""

import warnings
from collections.abc import Mapping
from typing import Any

import dagster as dg

# This graph relies on partitioned checks, which Dagster calls a preview.
warnings.filterwarnings("ignore", category=dg.PreviewWarning)
# It also relies on dependencies on a month before the first one.
warnings.filterwarnings("ignore", message="Parameter `allow_nonexistent", category=dg.BetaWarning)

from churn_assets import (  # noqa: E402  (after the filter: these modules use previews)
    automation,
    executor,
    feature_views,
    jobs,
    liveness,
    model,
    monitoring,
    online,
    raw,
    reports,
    requests,
    scores,
    snapshots,
    training,
)
from churn_assets.resources import mlflow_resource  # noqa: E402


def build_defs(resources: Mapping[str, Any] | None = None) -> dg.Definitions:
    """Put the graph together.

    Args:
        resources: resources that replace ours by key, for tests and special environments.
    """
    return dg.Definitions(
        assets=[
            *raw.raw_assets(),
            *snapshots.snapshot_assets(),
            *feature_views.feature_view_assets(),
            *online.online_assets(),
            *training.training_assets(),
            *model.model_assets(),
            *model.champion_assets(),
            *scores.score_assets(),
            *monitoring.monitoring_assets(),
            *scores.uplift_assets(),
            *model.backtest_assets(),
            *reports.report_assets(),
        ],
        asset_checks=[online.features_api_answers],
        jobs=[jobs.month_close, jobs.train_month, jobs.score_month, jobs.backtest_month],
        sensors=[
            automation.drops_folder,
            automation.alarms,
            automation.events,
            liveness.dead_runs,
            requests.requests,
            *automation.run_endings(),
        ],
        schedules=[automation.late_drops],
        resources={"mlflow": mlflow_resource(), **(resources or {})},
        # A step is short; starting a process for it would not be.
        executor=executor.one_process,
    )


defs = build_defs()
