"""Runs whose MLflow does not answer, from a server that drops every connection."""

import dagster as dg
import pytest

from churn.errors import ChurnError
from churn.settings import Settings, get_settings
from churn.stack.record import PartRecord, StackRecord, locked
from churn_assets.resources import mlflow_resource
from tests.kit.servers import Relay

_ASKED_ONCE = 6  # connections, of one call that is repeated


@pytest.mark.parametrize(
    ("is_under_its_command", "asked"), [(True, _ASKED_ONCE), (False, 6 * _ASKED_ONCE)]
)
def test_a_run_waits_only_for_an_mlflow_that_somebody_may_restart(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, is_under_its_command: bool, asked: int
) -> None:
    # No process has this number, since Linux has none above 2 ** 22.
    part = PartRecord(pid=2**22 + 1, started=0, temporary=is_under_its_command)
    StackRecord(parts={"mlflow": part}).write(settings.home)
    with Relay(settings.postgres_port) as relay, locked(settings.home):
        relay.drop = 1_000
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{relay.port}")
        get_settings.cache_clear()
        with (
            pytest.raises(dg.DagsterResourceFunctionError) as raised,
            dg.build_resources({"mlflow": mlflow_resource()}),
        ):
            pass
        assert relay.accepted == asked
    error = raised.value.__cause__
    assert isinstance(error, ChurnError)
    assert "MLflow does not answer" in str(error)
    assert ("mlflow died under the command" in str(error)) is is_under_its_command
    assert ("churn up" in str(error)) is not is_under_its_command
