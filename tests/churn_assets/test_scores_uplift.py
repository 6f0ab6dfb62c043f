"""The asset `uplift`: rows and figures where a claim is made, 0 rows and the reason where none is."""

from pathlib import Path
from typing import Any

import dagster as dg

from churn.scoring.uplift import Uplift, measure_uplift
from churn.settings import Settings
from churn_assets.resources import mlflow_resource
from churn_assets.scores import uplift_assets
from tests.kit.action_lists import MAY, USERS, campaign_month, put_labels, put_list


def materialise() -> dict[str, Any]:
    with dg.DagsterInstance.ephemeral() as instance:
        job = dg.Definitions(
            assets=uplift_assets(),
            resources={"mlflow": mlflow_resource()},
            executor=dg.in_process_executor,
        ).resolve_implicit_global_asset_job_def()
        result = job.execute_in_process(instance=instance, partition_key=MAY.partition_key)
        assert result.success
        [event] = result.asset_materializations_for_node("uplift")
        return {name: value.value for name, value in event.metadata.items()}


def test_no_claim_is_no_rows_and_says_why(mlflow_settings: Settings) -> None:
    nothing = materialise()
    assert nothing["dagster/partition_row_count"] == 0
    assert nothing["finding"] == "2024-05: no savings are claimed: there is no action list"
    put_list(MAY, USERS)
    put_labels(MAY, USERS[:9], USERS[9:])
    unreported = materialise()
    assert (unreported["dagster/partition_row_count"], unreported["listed_users"]) == (
        0,
        len(USERS),
    )
    assert unreported["fingerprint"] != nothing["fingerprint"]


def test_a_claim_has_its_interval(mlflow_settings: Settings, tmp_path: Path) -> None:
    campaign_month(tmp_path)
    put_labels(MAY, USERS[::10] + USERS[1::20], sorted({*USERS} - {*USERS[::10], *USERS[1::20]}))
    uplift, told = measure_uplift(MAY), materialise()
    assert isinstance(uplift, Uplift)
    assert told["dagster/partition_row_count"] == len(USERS)
    assert [told[f"uplift{which}"] for which in ("", "_low", "_high")] == list(uplift.uplift)
    assert [told[f"profit{which}"] for which in ("", "_low", "_high")] == list(uplift.profit)
    assert told["finding"].startswith("2024-05: the calls kept users")
    assert materialise() == told
