"""An alarm is told with the figures that raised it, once, whatever is measured again."""

from dataclasses import replace

import pytest

from churn.monitoring.store import keep_performance
from churn.monitoring.watch import standing_alarms, watch_drift
from tests.kit.events import told
from tests.kit.stored_months import FakeRegistry, put_lake, put_scores, put_training_set, released
from tests.kit.watched_months import model_of, month, performance_of, world

USERS, SEED = 600, 35
JANUARY, FEBRUARY = month(0), month(1)

pytestmark = pytest.mark.usefixtures("settings")


def test_drift_is_told_once_with_the_columns_that_drifted() -> None:
    played, model = world(2, USERS, SEED, fee_factor=1.5), model_of(USERS, SEED)
    put_training_set(JANUARY, played[0])
    put_lake(FEBRUARY, played[1])
    put_scores(FEBRUARY, played[1], released(JANUARY), model)
    for _ in range(2):
        watch_drift(FEBRUARY, FakeRegistry(model))
    [event], [alarm] = told("alarm.raised"), standing_alarms()
    assert event.data["alarm"] == "drift"
    assert event.data["month"] == "2024-02"
    assert event.data["release_id"] == alarm.release_id
    assert event.data["about"][0] == "monthly_fee"
    assert ", ".join(event.data["about"]) == alarm.message


def test_performance_is_told_once_and_only_where_it_alarms() -> None:
    release = released(JANUARY)
    figures = performance_of(world(2, USERS, SEED)[1], model_of(USERS, SEED))
    quiet = [replace(each, alarm="") for each in figures]
    keep_performance(FEBRUARY, release.release_id, quiet)
    assert told("alarm.raised") == []
    off = [replace(each, alarm="too low") if each.metric == "auc" else each for each in quiet]
    for _ in range(2):
        keep_performance(FEBRUARY, release.release_id, off)
    [event] = told("alarm.raised")
    assert (event.data["alarm"], event.data["about"]) == ("performance", ["auc"])
