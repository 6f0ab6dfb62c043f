from pathlib import Path

import dagster as dg
import pytest

from churn.contract.in_force import USERS
from churn.records import close_records
from churn.stack.postgres import EmbeddedPostgres
from churn.warehouse.raw import load_raw
from tests.kit.multiprocess_job import raw_job
from tests.kit.states import JANUARY, State, new_state, records


@pytest.fixture
def state(postgres: EmbeddedPostgres, mlflow_url: str, tmp_path: Path) -> State:
    return new_state(postgres, tmp_path, mlflow_url)


def test_a_run_of_many_processes_is_one_mlflow_run(state: State, drops: list[Path]) -> None:
    with state.entered(), dg.DagsterInstance.local_temp() as instance:
        state.deliver(drops[0])
        load_raw(JANUARY, USERS)
        with dg.execute_job(
            dg.reconstructable(raw_job),
            instance=instance,
            tags={"dagster/partition": JANUARY.partition_key},
        ) as result:
            assert result.success
            run_id = result.run_id
        parent, *children = records(state)
        assert parent.info.status == "RUNNING"  # no process has ended it on its way out
        assert parent.data.tags["dagster_run_id"] == run_id
        assert sorted(child.data.tags["asset"] for child in children) == [
            "payments_agg_90d",
            "support_agg_90d",
        ]
        assert {c.data.tags["mlflow.parentRunId"] for c in children} == {parent.info.run_id}
        close_records(run_id, succeeded=True)
        assert {run.info.status for run in records(state)} == {"FINISHED"}
