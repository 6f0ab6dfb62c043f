"""The raw assets with the multiprocess executor: each step is a process, and finds its job here."""

import dagster as dg

from churn_assets.raw import raw_assets
from churn_assets.resources import mlflow_resource


def raw_job() -> dg.JobDefinition:
    defs = dg.Definitions(
        assets=raw_assets(),
        resources={"mlflow": mlflow_resource()},
        jobs=[
            dg.define_asset_job(
                "raw_job",
                dg.AssetSelection.assets("payments_agg_90d", "support_agg_90d"),
            )
        ],
        executor=dg.multiprocess_executor.configured({"max_concurrent": 2}),
    )
    return defs.resolve_job_def("raw_job")
