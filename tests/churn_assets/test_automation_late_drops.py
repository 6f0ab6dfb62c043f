import datetime as dt

import dagster as dg
import pytest

from churn.contract.in_force import PROFILE_TABLES
from churn.deliveries import accepted, deliver
from churn.settings import Settings, get_settings
from churn_assets.automation import late_drops
from tests.kit.small_drop import FEBRUARY, JANUARY, NOW, write_drop

THIRD_OF_APRIL = dt.datetime(2024, 4, 3, 6, tzinfo=dt.UTC)


def tick(instance: dg.DagsterInstance, at: dt.datetime = THIRD_OF_APRIL) -> str:
    context = dg.build_schedule_context(instance=instance, scheduled_execution_time=at)
    skip = late_drops(context)
    assert isinstance(skip, dg.SkipReason)
    return str(skip.skip_message)


def observed(instance: dg.DagsterInstance) -> dict[str | None, dg.AssetObservation]:
    observations = instance.fetch_observations(dg.AssetKey("users"), limit=9).records
    events = [record.asset_observation for record in observations]
    return {event.partition: event for event in events if event}


def test_closed_months_without_a_drop_are_named_and_observed(settings: Settings, tmp_path) -> None:
    deliver(write_drop(tmp_path / "month_001"), now=NOW)
    with dg.DagsterInstance.local_temp() as instance:  # a schedule asks for one on disk
        message = tick(instance)
        assert message == "late drops: 2024-01, 2024-03; deliver them: churn deliver DIR"
        late = observed(instance)
        assert set(late) == {JANUARY.partition_key, FEBRUARY.next.partition_key}
        assert late["2024-03-01"].metadata["closed_on"].value == "2024-03-31"
        assert late["2024-03-01"].description == "the drop of 2024-03 is late"


def test_the_month_that_has_not_closed_is_not_late(settings: Settings, tmp_path) -> None:
    deliver(write_drop(tmp_path / "month_000"), now=NOW)
    with dg.DagsterInstance.local_temp() as instance:
        third_of_february = dt.datetime(2024, 2, 3, 6, tzinfo=dt.UTC)
        assert tick(instance, third_of_february) == "every drop up to 2024-01 is here"
        assert observed(instance) == {}


def test_nothing_after_the_last_month_is_late(
    settings: Settings, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHURN_LAST_MONTH", "2024-02")
    get_settings.cache_clear()
    for folder in ("month_000", "month_001"):
        deliver(write_drop(tmp_path / folder), now=NOW)
    with dg.DagsterInstance.local_temp() as instance:
        assert "is here" in tick(instance)


def test_what_failed_and_what_waits_behind_it_is_named_beside_the_late_drops(
    settings: Settings, tmp_path
) -> None:
    deliver(write_drop(tmp_path / "month_000"), now=NOW)
    with dg.DagsterInstance.local_temp() as instance:
        version = str(max(d.delivery_id for t in PROFILE_TABLES for d in accepted(JANUARY, t)))
        tags = {"dagster/partition": JANUARY.partition_key, "churn/version": version}
        run = dg.DagsterRun(job_name="month_close", tags=tags, status=dg.DagsterRunStatus.STARTED)
        instance.add_run(run)
        instance.report_run_failed(run, message="MLflow does not answer")
        message = tick(instance, dt.datetime(2024, 2, 3, 6, tzinfo=dt.UTC))
    first, second = message.splitlines()
    assert first == "every drop up to 2024-01 is here"
    assert second.startswith(
        "train_month of 2024-01 and score_month of 2024-01 and decision of 2024-01 wait for month_close"
        " of 2024-01, which failed once since "
    )
    assert "(MLflow does not answer): it is asked for again from" in second
