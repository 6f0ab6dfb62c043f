import datetime as dt
import json
import sys
from pathlib import Path

import dagster as dg
import pytest

from churn.contract.in_force import TABLES
from churn.database import connect, lock
from churn.deliveries import accepted
from churn.schedule.facts import BATCH_LOCK
from churn.schedule.sentences import read_months_behind
from churn.scoring.scores import score_month
from churn.settings import Settings, get_settings
from churn_assets.automation import drops_folder
from churn_assets.due import months_behind
from tests.kit.close_month import close
from tests.kit.small_drop import FEBRUARY, JANUARY, put_drop

_STARTED = dg.DagsterRunStatus.STARTED


@pytest.fixture
def folder(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CHURN_DROPS", str(tmp_path / "inbox"))
    get_settings.cache_clear()
    return tmp_path / "inbox"


@pytest.fixture
def instance() -> dg.DagsterInstance:
    return dg.DagsterInstance.ephemeral()


def look(
    instance: dg.DagsterInstance, cursor: str | None = None, at: float | None = None
) -> dg.SensorResult:
    context = dg.SensorEvaluationContext(
        None, instance=instance, cursor=cursor, last_tick_completion_time=at
    )
    result = drops_folder(context)
    assert isinstance(result, dg.SensorResult)
    return result


def requests(result: dg.SensorResult) -> list[tuple[str | None, str | None, str | None]]:
    return [(r.job_name, r.partition_key, r.run_key) for r in result.run_requests or []]


def jobs(result: dg.SensorResult) -> list[str | None]:
    return [request.job_name for request in result.run_requests or []]


def newest_id(month=JANUARY, labels: bool = False) -> int:
    tables = [t for t in TABLES if (t.name == "labels") is labels]
    return max(d.delivery_id for t in tables for d in accepted(month, t))


def test_a_folder_that_is_not_there_yet_is_no_error(folder: Path, instance) -> None:
    result = look(instance)
    assert not result.run_requests
    assert json.loads(result.cursor or "") == {}


def test_a_new_drop_is_delivered_and_its_close_requested(folder: Path, instance) -> None:
    put_drop(folder / "month_000")
    result = look(instance)
    assert all(accepted(JANUARY, table) for table in TABLES)
    # the labels are here, but there is nothing published to train on
    assert requests(result) == [
        ("month_close", "2024-01-01", f"month_close:2024-01:{newest_id()}"),
    ]
    assert not result.asset_events


def test_nothing_is_taken_in_or_closed_twice(folder: Path, instance) -> None:
    put_drop(folder / "month_000")
    first = look(instance)
    again = look(instance, first.cursor)
    # the run key is the same, so Dagster launches nothing more while the first run is under way
    assert requests(again) == requests(first)
    close(JANUARY)
    put_drop(folder / "month_000")  # seen as changed, with nothing new in it
    assert jobs(look(instance, first.cursor)) == ["train_month", "score_month"]
    assert [len(accepted(JANUARY, table)) for table in TABLES] == [1] * len(TABLES)


def test_a_correction_is_closed_again_under_another_key(folder: Path, instance) -> None:
    put_drop(folder / "month_000", without=("labels.csv",))
    first = look(instance)
    close(JANUARY)
    score_month(JANUARY)
    assert requests(look(instance, first.cursor)) == []
    put_drop(
        folder / "month_000", {"subscriptions.csv": ("56.95", "57.95")}, without=("labels.csv",)
    )
    second = look(instance, first.cursor)
    assert [r[:2] for r in requests(second)] == [("month_close", "2024-01-01")]
    assert requests(second) != requests(first)


def test_a_refused_drop_is_a_failed_check_and_no_run(folder: Path, instance) -> None:
    put_drop(folder / "month_000", {"subscriptions.csv": ("29.85,29.85", "-1,29.85")})
    result = look(instance)
    assert requests(result) == []
    [event] = result.asset_events
    assert isinstance(event, dg.AssetCheckEvaluation)
    assert (event.asset_key, event.check_name, event.passed) == (
        dg.AssetKey("users"),
        "valid",
        False,
    )
    assert event.severity == dg.AssetCheckSeverity.ERROR
    assert event.partition == "2024-01-01"
    assert "month_000" in (event.description or "")
    problems = str(event.metadata["problems"].value)
    for part in ("subscriptions.csv", "row 2", "monthly_fee", "-1"):
        assert part in problems
    assert not any(accepted(JANUARY, table) for table in TABLES)
    instance.report_runless_asset_event(event)
    # seen once, reported once; another look is quiet until the folder changes
    assert not look(instance, result.cursor).asset_events
    put_drop(folder / "month_000")
    assert [r[0] for r in requests(look(instance, result.cursor))] == ["month_close"]


def test_what_waits_and_what_is_no_drop_is_told_once(
    folder: Path, instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    sensor = sys.modules["churn_assets.automation"]

    def at(day: str, cursor: str | None = None) -> dg.SensorResult:
        now = dt.datetime.fromisoformat(f"{day}T15:00+00:00")
        clock = type("Clock", (dt.datetime,), {"now": classmethod(lambda *_: now)})
        monkeypatch.setattr(sensor, "datetime", clock)
        return look(instance, cursor)

    put_drop(folder / "month_000", without=("labels.csv",))  # a month-end export in Tokyo
    (folder / "month_1").mkdir()
    first = at("2024-01-31")
    assert requests(first) == []
    [waits, passed_over] = first.asset_events
    assert isinstance(waits, dg.AssetObservation)
    assert "2024-01 has not closed yet: it waits until 2024-02-01 00:00 UTC" in str(
        waits.metadata["waits"].value
    )
    assert isinstance(passed_over, dg.AssetCheckEvaluation)
    assert passed_over.severity == dg.AssetCheckSeverity.WARN
    assert "month_1 does not say its month" in (passed_over.description or "")
    assert "name it month_001" in str(passed_over.metadata["passed_over"].value)
    again = at("2024-01-31", first.cursor)
    assert (requests(again), again.asset_events) == ([], [])
    assert jobs(at("2024-02-01", again.cursor)) == ["month_close"]


def test_a_refused_drop_does_not_keep_the_next_one_out(folder: Path, instance) -> None:
    put_drop(folder / "month_000", without=("users.csv",))
    put_drop(folder / "month_001")
    result = look(instance)
    assert len(result.asset_events) == 1
    assert [r[:2] for r in requests(result)] == [("month_close", "2024-02-01")]
    assert not accepted(JANUARY, TABLES[1])
    assert accepted(FEBRUARY, TABLES[1])


def test_training_waits_for_labels_and_for_the_publication(folder: Path, instance) -> None:
    put_drop(folder / "month_000", without=("labels.csv",))
    cursor = look(instance).cursor
    close(JANUARY)
    score_month(JANUARY)
    assert requests(look(instance, cursor)) == []
    put_drop(folder / "month_000")  # the labels have come
    result = look(instance, cursor)
    assert requests(result) == [
        ("train_month", "2024-01-01", f"train_month:2024-01:{newest_id(labels=True)}")
    ]
    [request] = result.run_requests or []
    assert request.tags["churn/version"] == str(newest_id(labels=True))


def test_a_trained_month_is_not_trained_again(folder: Path, instance) -> None:
    put_drop(folder / "month_000")
    cursor = look(instance).cursor
    close(JANUARY)
    instance.report_runless_asset_event(
        dg.AssetMaterialization("churn_model", partition="2024-01-01")
    )
    assert jobs(look(instance, cursor)) == ["score_month"]


def test_a_month_is_scored_once_and_again_after_a_correction(folder: Path, instance) -> None:
    put_drop(folder / "month_000", without=("labels.csv",))
    cursor = look(instance).cursor
    close(JANUARY)
    [first] = requests(look(instance, cursor))
    assert first[:2] == ("score_month", "2024-01-01")
    assert (first[2] or "").endswith(":none")  # no release is in force
    assert score_month(JANUARY).rows.num_rows == 0
    assert requests(look(instance, cursor)) == []
    changed = {"subscriptions.csv": ("56.95", "57.95")}
    put_drop(folder / "month_000", changed, without=("labels.csv",))
    assert jobs(look(instance, cursor)) == ["month_close"]
    close(JANUARY)
    [again] = requests(look(instance, cursor))
    assert again[0] == "score_month"
    assert again[2] != first[2]


def test_it_stands_back_while_the_command_line_is_at_work(folder: Path, instance) -> None:
    put_drop(folder / "month_000")
    with connect() as guard:
        lock(guard, BATCH_LOCK)
        result = look(instance, "{}")
        assert "command-line run is at work" in str(result.skip_reason)
        assert not result.run_requests
        assert not accepted(JANUARY, TABLES[0])
    assert [r[0] for r in requests(look(instance, "{}"))] == ["month_close"]


def fail(instance: dg.DagsterInstance, request: dg.RunRequest, why: str) -> float:
    """Record a run of the request that failed before its first step; return when it ended."""
    tags = {**request.tags, "dagster/partition": request.partition_key or ""}
    run = dg.DagsterRun(job_name=request.job_name or "", tags=tags, status=_STARTED)
    instance.add_run(run)
    instance.report_run_failed(run, message=why)
    record = instance.get_run_record_by_id(run.run_id)
    assert record is not None
    assert record.end_time is not None
    return record.end_time


def test_an_attempt_that_was_deleted_in_the_ui_does_not_keep_the_month_from_being_asked_for(
    folder: Path, instance
) -> None:
    put_drop(folder / "month_000")
    first = look(instance)
    result, taken = first, set()
    for _ in range(2):
        [request] = result.run_requests or []
        ended = fail(instance, request, "Server disconnected without sending a response")
        result = look(instance, first.cursor, ended + 400)
        taken.add(request.run_key)
    oldest = instance.get_runs()[-1]
    instance.delete_run(oldest.run_id)
    [(_, _, key)] = requests(look(instance, first.cursor, ended + 400))
    assert key not in taken  # Dagster launches nothing twice under one key
    assert key == f"month_close:2024-01:{newest_id()}:3"


def test_a_month_that_failed_is_asked_for_again_by_itself_then_given_up_and_named(
    folder: Path, instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHURN_RETRY_MINUTES", "1,5")
    get_settings.cache_clear()
    put_drop(folder / "month_000")
    first = look(instance)
    key = f"month_close:2024-01:{newest_id()}"
    result = first
    for number, minutes in ((2, 1), (3, 5)):
        [request] = result.run_requests or []
        ended = fail(instance, request, "Server disconnected without sending a response")
        assert requests(look(instance, first.cursor, ended + minutes * 60 - 1)) == []
        result = look(instance, first.cursor, ended + minutes * 60 + 1)
        assert requests(result) == [("month_close", "2024-01-01", f"{key}:{number}")]
    [request] = result.run_requests or []
    ended = fail(instance, request, "Server disconnected without sending a response")
    assert requests(look(instance, first.cursor, ended + 10_000_000)) == []
    behind = months_behind(instance)  # what `churn status` shows
    assert {(each["stage"], each["state"]) for each in behind} == {
        ("month_close", "given up"),
        ("train_month", "waits"),
        ("score_month", "waits"),
        ("decision", "waits"),
    }
    assert len({each["sentence"] for each in behind}) == 1
    kept = {(each.stage, each.month): each for each in read_months_behind()}
    assert kept["month_close", JANUARY].state == "given up"
    assert "failed 3 times since" in kept["month_close", JANUARY].sentence
    assert "Server disconnected without sending a response" in kept["decision", JANUARY].sentence
    put_drop(folder / "month_000", {"subscriptions.csv": ("56.95", "57.95")})
    [corrected] = requests(look(instance, first.cursor, ended))
    assert corrected == ("month_close", "2024-01-01", f"month_close:2024-01:{newest_id()}")
    assert corrected[2] != key
