"""A month of an asset, told to a real receiver of OpenLineage by the graph's own work."""

import json
from collections.abc import Iterator

import dagster as dg
import pytest
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState

from churn.errors import ChurnError
from churn.lineage import _client
from churn.mlflow_client import mlflow_client
from churn.settings import Settings, get_settings
from churn_assets.monthly import MonthResult, MonthStep, monthly_asset
from churn_assets.resources import mlflow_resource
from tests.kit.webhook_receiver import Receiver, receiving

FEBRUARY = "2024-02-01"


@pytest.fixture
def catalogue(mlflow_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with receiving() as receiver:
        monkeypatch.setenv("CHURN_LINEAGE", "true")
        monkeypatch.setenv("OPENLINEAGE_URL", receiver.url)
        get_settings.cache_clear()
        _client.cache_clear()
        yield receiver
        _client.cache_clear()


def work(step: MonthStep) -> MonthResult:
    """Make a month."""
    return MonthResult(7, "f" * 8)


def fails(step: MonthStep) -> MonthResult:
    """Make no month."""
    raise ChurnError("user 7590-VHVEG is wrong")


def events(receiver: Receiver) -> list[RunEvent]:
    """Return what came, as the client's own model takes it."""
    read = []
    for body in (json.loads(request.body) for request in receiver.requests):
        body["run"] = Run(**body["run"])
        body["job"] = Job(**body["job"])
        body["inputs"] = [InputDataset(**each) for each in body["inputs"]]
        body["outputs"] = [OutputDataset(**each) for each in body["outputs"]]
        body["eventType"] = RunState(body["eventType"])
        read.append(RunEvent(**{name: body[name] for name in body if name != "schemaURL"}))
    return read


def test_begin_and_end_of_a_month_are_told_with_what_it_was_made_from(catalogue: Receiver) -> None:
    for make in (work, fails):
        thing = monthly_asset(
            "thing", make, group="raw", kinds={"python"}, deps=["users", "labels"]
        )
        job = dg.Definitions(
            assets=[thing], resources={"mlflow": mlflow_resource()}, executor=dg.in_process_executor
        ).resolve_implicit_global_asset_job_def()
        with dg.DagsterInstance.ephemeral() as instance:
            job.execute_in_process(instance=instance, raise_on_error=False, partition_key=FEBRUARY)
    told = events(catalogue)
    assert [each.eventType for each in told] == [
        RunState.START,
        RunState.COMPLETE,
        RunState.START,
        RunState.FAIL,
    ]
    begun, ended, _, _ = told
    assert begun.run.runId == ended.run.runId
    record = mlflow_client().get_run(ended.run.runId.replace("-", ""))
    assert record.data.tags["asset"] == ended.job.name == "thing"
    assert [each.name for each in ended.inputs] == ["labels", "users"]
    [output] = ended.outputs
    assert (output.namespace, output.name) == ("streamflow", "thing")
    assert output.facets["version"]["datasetVersion"] == "f" * 8
    assert output.outputFacets["outputStatistics"]["rowCount"] == 7
    assert ended.run.facets["nominalTime"]["nominalStartTime"] == "2024-02-01T00:00:00+00:00"
    assert not [each for each in catalogue.requests if "7590-VHVEG" in each.body]
