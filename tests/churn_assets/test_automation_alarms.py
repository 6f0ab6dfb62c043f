"""An alarm that stands asks for a training, once; the gate decides again and the ledger says so."""

import datetime as dt

import dagster as dg
import pytest

from churn.database import connect, lock
from churn.monitoring.watch import watch_drift
from churn.months import Month
from churn.promotion import ledger
from churn.promotion.decide import take_due_decisions
from churn.schedule.facts import BATCH_LOCK
from churn_assets.automation import alarms
from churn_assets.monthly import ALARM_TAG
from tests.kit.decision_world import World, deliver, deliver_labels
from tests.kit.stored_months import FakeRegistry, put_lake, put_scores, put_training_set, released
from tests.kit.watched_months import model_of, month, world

USERS, SEED = 600, 35
JANUARY, FEBRUARY, MARCH = month(0), month(1), month(2)

pytestmark = pytest.mark.usefixtures("settings")


def look(
    instance: dg.DagsterInstance | None = None, at: float | None = None
) -> dg.SensorResult | dg.SkipReason:
    context = dg.SensorEvaluationContext(
        None,
        instance=instance or dg.DagsterInstance.ephemeral(),
        last_tick_completion_time=at,
    )
    result = alarms(context)
    assert isinstance(result, dg.SensorResult | dg.SkipReason)
    return result


def publish(at: Month) -> None:
    with connect() as connection:
        connection.execute(
            "INSERT INTO online.publications VALUES (%s, %s, 1, 'f')", [at.as_of, at.as_of]
        )


def price_rise() -> None:
    played, model = world(2, USERS, SEED, fee_factor=1.5), model_of(USERS, SEED)
    put_training_set(JANUARY, played[0])
    put_lake(FEBRUARY, played[1])
    put_scores(FEBRUARY, played[1], released(JANUARY), model)
    watched = watch_drift(FEBRUARY, FakeRegistry(model))
    assert watched.drift
    assert watched.drift.drifted


def test_without_an_alarm_nothing_is_asked_for() -> None:
    assert "no alarm" in str(look().skip_message)


def test_an_alarm_asks_for_the_newest_trainable_month_once() -> None:
    price_rise()
    assert "no month has its labels" in str(look().skip_message)
    for each in (JANUARY, FEBRUARY):
        deliver(each, labels=each == JANUARY)
        publish(each)
    [asked] = look().run_requests
    assert (asked.job_name, asked.partition_key) == (None, JANUARY.partition_key)
    assert asked.tags[ALARM_TAG].startswith("drift in 2024-02: monthly_fee")
    assert [each.run_key for each in look().run_requests] == [asked.run_key]
    deliver_labels(FEBRUARY, late=dt.timedelta(days=40))  # too late to be trained on
    assert [each.partition_key for each in look().run_requests] == [JANUARY.partition_key]


def test_an_answer_that_failed_is_asked_for_again_after_a_minute() -> None:
    price_rise()
    deliver(JANUARY, labels=True)
    publish(JANUARY)
    instance = dg.DagsterInstance.ephemeral()
    [asked] = look(instance).run_requests
    run = dg.DagsterRun(job_name="train_month", tags=asked.tags, status=dg.DagsterRunStatus.STARTED)
    instance.add_run(run)
    assert look(instance).run_requests == []  # it is under way
    instance.report_run_failed(run, message="Server disconnected without sending a response")
    ended = instance.get_run_record_by_id(run.run_id).end_time
    assert look(instance, ended + 59).run_requests == []
    [again] = look(instance, ended + 61).run_requests
    assert again.run_key == f"{asked.run_key}:2"
    second = dg.DagsterRun(job_name="train_month", tags=again.tags, status=run.status)
    instance.add_run(second)
    instance.report_run_failed(second, message="Server disconnected without sending a response")
    instance.delete_run(run.run_id)  # in the UI: the second one keeps its key
    [third] = look(
        instance, instance.get_run_record_by_id(second.run_id).end_time + 61
    ).run_requests
    assert third.run_key == f"{asked.run_key}:3"


def test_the_newest_month_is_the_one_to_train_on() -> None:
    price_rise()
    for each in (JANUARY, FEBRUARY):
        deliver(each, labels=each == JANUARY)
        publish(each)
    [asked] = look().run_requests
    deliver_labels(FEBRUARY)
    [again] = look().run_requests
    assert again.partition_key == FEBRUARY.partition_key
    assert again.run_key == asked.run_key  # the same alarm: Dagster launches nothing more
    with connect() as connection:
        lock(connection, BATCH_LOCK)
        assert "command-line run" in str(look().skip_message)


def test_the_ledger_says_that_an_alarm_asked_and_what_the_gate_said() -> None:
    played = World({JANUARY: 0.6, FEBRUARY: 0.6})
    for each in (JANUARY, FEBRUARY, MARCH):
        deliver(each)
        played.materialise(each)
    before = ledger.entries()
    assert take_due_decisions(MARCH, played).entries == []
    taken = take_due_decisions(MARCH, played, alarm="drift in 2024-04: monthly_fee")
    [entry] = taken.entries
    assert (entry.month, entry.supersedes) == (MARCH, before[-1].seq)
    assert entry.reasons[0] == "an alarm asked for it: drift in 2024-04: monthly_fee"
    assert len(entry.reasons) > 1  # and the gate's own
    assert entry.evidence["trigger"] == "alarm"
    assert (entry.outcome, entry.release_id) == (before[-1].outcome, before[-1].release_id)
    assert entry.content_hash == before[-1].content_hash  # asking again changes no decision
    assert take_due_decisions(MARCH, played, alarm="drift in 2024-04: monthly_fee").entries == []
    assert take_due_decisions(MARCH, played).entries == []
    assert ledger.verify().is_whole
