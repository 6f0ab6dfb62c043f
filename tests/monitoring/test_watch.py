"""A month watched on a real Postgres: before a release, before labels, after them; alarms that stand."""

import pytest

from churn.database import connect
from churn.errors import ChurnError
from churn.evaluation.confidence import METRICS
from churn.model.rows import is_holdout
from churn.monitoring.distance import FEATURES
from churn.monitoring.drift import drift_page_path
from churn.monitoring.store import read_drift, read_performance
from churn.monitoring.tables import drift_table, performance_png, performance_table
from churn.monitoring.watch import standing_alarms, watch_drift, watch_performance
from churn.training.dataset import training_set_path
from churn_assets.monitoring import drift_outcome, performance_outcome
from tests.kit.stored_months import FakeRegistry, put_lake, put_scores, put_training_set, released
from tests.kit.watched_months import model_of, month, world

USERS, SEED = 1_000, 33
JANUARY, FEBRUARY, MARCH = month(0), month(1), month(2)

pytestmark = pytest.mark.usefixtures("settings")


def february(**change: float) -> FakeRegistry:
    """January trained on and released, February in the lake and scored; its labels are not there."""
    played, model = world(2, USERS, SEED, **change), model_of(USERS, SEED)
    put_training_set(JANUARY, played[0])
    put_lake(FEBRUARY, played[1])
    put_scores(FEBRUARY, played[1], released(JANUARY), model)
    return FakeRegistry(model)


def test_before_the_first_release_there_is_nothing_to_watch() -> None:
    put_scores(JANUARY, world(1, USERS, SEED)[0], None, model_of(USERS, SEED))
    drift, performance = watch_drift(JANUARY), watch_performance(JANUARY)
    assert (drift.release, drift.drift, read_drift(JANUARY)) == (None, None, [])
    assert (performance.release, performance.figures, read_performance()) == (None, [], [])
    assert drift_outcome(drift).passed
    assert drift_outcome(drift).description == "no release yet"
    assert not drift_page_path(JANUARY).exists()
    put_training_set(JANUARY, world(1, USERS, SEED)[0])
    outcome = performance_outcome(watch_performance(JANUARY))
    assert (outcome.passed, outcome.description) == (True, "no release yet")
    assert standing_alarms() == []


def test_a_month_that_was_not_scored_is_waited_for_or_refused() -> None:
    with pytest.raises(ChurnError, match="has not been scored"):
        watch_drift(FEBRUARY)
    watched = watch_performance(FEBRUARY)
    assert watched.waits_for == "churn_scores of 2024-02"
    assert "waits for churn_scores" in (performance_outcome(watched).description or "")


def test_a_clean_month_keeps_quiet() -> None:
    registry = february()
    watched = watch_drift(FEBRUARY, registry)
    assert drift_outcome(watched).passed
    rows = read_drift(FEBRUARY)
    assert {row["feature"] for row in rows} == {f.name for f in FEATURES} | {"score"}
    held = int(is_holdout(world(2, USERS, SEED)[1].frame["user_id"].to_numpy()).sum())
    assert {r["feature"]: r["rows"] for r in rows}["score"] == held
    assert {row["rows"] for row in rows} == {held, USERS}
    assert {row["reference_as_of"] for row in rows} == {JANUARY.as_of}
    assert watched.report == drift_page_path(FEBRUARY)
    assert drift_page_path(FEBRUARY).exists()
    watch_drift(FEBRUARY, registry)
    assert read_drift(FEBRUARY) == rows  # replaced, not added to


def test_a_price_rise_is_drift_and_an_alarm_that_stands() -> None:
    watched = watch_drift(FEBRUARY, february(fee_factor=1.3))
    outcome = drift_outcome(watched)
    assert not outcome.passed
    assert (outcome.description or "").startswith("monthly_fee ")
    first = read_drift(FEBRUARY)[0]
    assert (first["feature"], first["is_drifted"]) == ("monthly_fee", True)
    assert watched.drift
    assert "| monthly_fee |" in drift_table(watched.drift.columns).splitlines()[2]
    [alarm] = standing_alarms()
    assert (alarm.kind, alarm.month) == ("drift", FEBRUARY)
    assert str(alarm).startswith("drift in 2024-02: monthly_fee")
    released(FEBRUARY)  # what was said of the release before it is settled
    assert standing_alarms() == []


def test_the_estimate_comes_first_and_the_realised_figure_joins_it() -> None:
    february(label_slope=-1.0)
    watched = watch_performance(FEBRUARY)
    assert watched.waits_for == "labels of 2024-02, which mature on 2024-03-31"
    assert performance_outcome(watched).passed
    before = read_performance(FEBRUARY)
    # Of all users, and of those held out.
    assert len(before) == 2 * len(METRICS)
    assert {row["realised"] for row in before} == {row["error"] for row in before} == {None}
    assert "not yet" in performance_table(before)
    assert standing_alarms() == []

    put_training_set(FEBRUARY, world(2, USERS, SEED, label_slope=-1.0)[1])
    watched = watch_performance(FEBRUARY)
    outcome = performance_outcome(watched)
    assert not outcome.passed
    assert "realised AUC" in (outcome.description or "")
    after = read_performance(FEBRUARY)
    assert [row["estimated"] for row in after] == [row["estimated"] for row in before]
    for row in after:
        assert row["error"] == pytest.approx(row["estimated"] - row["realised"])
    [alarm] = standing_alarms()
    assert (alarm.kind, alarm.month) == ("performance", FEBRUARY)
    table = performance_table(after, metric="auc").splitlines()
    assert len(table) == 4
    assert "realised AUC" in table[-1]
    assert performance_png(after).startswith(b"\x89PNG")
    assert performance_png(before).startswith(b"\x89PNG")


def test_an_estimate_learns_from_the_release_s_months_before_and_from_no_other() -> None:
    played, model = world(3, USERS, SEED), model_of(USERS, SEED)
    by = released(JANUARY)
    for number in (1, 2):
        put_lake(month(number), played[number])
        put_scores(month(number), played[number], by, model)

    def estimated() -> list[float]:
        watch_performance(MARCH)
        return [row["estimated"] for row in read_performance(MARCH)]

    at_first = estimated()
    put_training_set(
        JANUARY, played[0]
    )  # what the release was fitted on says nothing of later months
    assert estimated() == at_first
    put_training_set(FEBRUARY, played[1])
    learned = estimated()
    assert learned != at_first
    put_training_set(MARCH, played[2])  # its own labels are what it is held against
    assert estimated() == learned
    with connect() as connection:
        connection.execute(
            "UPDATE churn_score_runs SET release_id = NULL WHERE as_of = %s", [FEBRUARY.as_of]
        )
    assert estimated() == at_first  # February was not the release's


def test_estimates_come_to_the_same_in_whatever_order_months_are_worked_on() -> None:
    played, model = world(3, USERS, SEED), model_of(USERS, SEED)
    by = released(JANUARY)
    for number in (1, 2):
        put_lake(month(number), played[number])
        put_scores(month(number), played[number], by, model)
    put_training_set(FEBRUARY, played[1])
    watch_performance(FEBRUARY)
    watch_performance(MARCH)
    in_order = read_performance()
    training_set_path(FEBRUARY).unlink()
    watch_performance(MARCH)
    assert read_performance(MARCH) != [row for row in in_order if row["month"] == str(MARCH)]
    # The training of February had failed, and heals after March was scored.
    put_training_set(FEBRUARY, played[1])
    watch_performance(FEBRUARY)
    assert read_performance() == in_order


def test_only_scored_users_with_a_label_are_judged() -> None:
    february()
    seen = world(2, USERS, SEED)[1]
    some = type(seen)(seen.frame.iloc[:600], seen.labels[:600])
    put_training_set(FEBRUARY, some)
    watch_performance(FEBRUARY)
    assert {row["rows"] for row in read_performance() if row["users"] == "all"} == {600}


def test_no_scored_user_with_a_label_is_an_error() -> None:
    february()
    other = world(2, USERS, SEED)[1]
    strangers = other.frame.assign(user_id=[f"x{n}" for n in range(len(other.frame))])
    put_training_set(FEBRUARY, type(other)(strangers, other.labels))
    with pytest.raises(ChurnError, match="no scored user has a label"):
        watch_performance(FEBRUARY)
