"""The views of retention over a world that went through the graph: keys, and the records behind them."""

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psycopg
import pytest

from churn.contract.in_force import CONTRACT, LABELS, TABLES
from churn.database import connect
from churn.database.retention import RETENTION_VIEWS, SCHEMA
from churn.deliveries import in_force
from churn.monitoring.store import read_performance
from churn.promotion.entry import decisions, sentence
from churn.promotion.ledger import entries, release_in_force
from churn.report import score_counts
from churn.scoring.actions import read_actions
from churn.scoring.treatments import load_treatments
from churn.scoring.uplift import NotClaimed, measure_uplift, record_uplift
from churn.settings import get_settings
from churn.training.dataset import read_training_set
from tests.kit.retention_rows import row, rows
from tests.kit.states import FEBRUARY, JANUARY, MARCH
from tests.whole.flow.conftest import World

NAMES = [view.name for view in RETENTION_VIEWS]


@pytest.mark.parametrize("view", RETENTION_VIEWS, ids=NAMES)
def test_every_key_is_whole_and_unique_and_every_row_is_dated(world: World, view) -> None:
    every = rows(view.name)
    keys = [tuple(each[name] for name in view.key) for each in every]
    # Nothing is claimed in this world, so that there is nothing to add up, and no campaign was saved.
    assert bool(keys) == (view.name not in {"uplift_total", "campaigns"})
    assert len(set(keys)) == len(keys)
    assert None not in {part for key in keys for part in key}
    for each in every:
        assert each["updated_at"].tzinfo is not None
        assert each["updated_at"] <= dt.datetime.now(dt.UTC)


def test_a_month_has_what_the_report_has(world: World) -> None:
    january, february, march = rows("month")
    assert [each["month"] for each in (january, february, march)] == [
        month.first_day for month in (JANUARY, FEBRUARY, MARCH)
    ]
    assert (january["users"], january["release_id"], january["listed_users"]) == (0, None, 0)
    for month, month_row in ((FEBRUARY, february), (MARCH, march)):
        users, listed, control, profit = score_counts(month)
        assert month_row["users"] == users
        assert (month_row["listed_users"], month_row["control_users"]) == (listed, control)
        assert month_row["treated_users"] == listed - control
        assert month_row["expected_profit"] == pytest.approx(profit)
        release = release_in_force(month.as_of)
        assert month_row["release_id"] == release.release_id
        assert month_row["release_version"] == release.version
        assert month_row["release_trained_on"] == release.month.first_day
        assert (month_row["behind"], month_row["drift_alarm"], month_row["open_alarms"]) == (
            None,
            None,
            0,
        )
        metadata = world.state.materialization("action_list", month).metadata
        assert month_row["list_hash"] == metadata["fingerprint"].value
    assert [each["labels_due"] for each in (january, february)] == [
        month.matures_at.date() for month in (JANUARY, FEBRUARY)
    ]
    awaited = ["awaits_drop", "awaits_scores", "awaits_labels"]
    assert [[each[name] for name in awaited] for each in (january, february, march)] == [
        [False, False, False],
        [False, False, False],
        [False, False, True],
    ]
    standing = decisions(entries())
    for month, month_row in ((JANUARY, january), (FEBRUARY, february)):
        assert month_row["decision"] == standing[month].outcome
        assert month_row["decision_seq"] == standing[month].seq
    assert march["decision"] is None


def test_leavers_of_a_month_are_those_that_performance_was_measured_on(world: World) -> None:
    month_row = row("month", FEBRUARY)
    [rate] = [
        each
        for each in read_performance(FEBRUARY)
        if (each["users"], each["metric"]) == ("all", "churn_rate")
    ]
    trained = read_training_set(FEBRUARY).rows
    assert month_row["labelled_users"] == rate["rows"]
    assert month_row["observed_leavers"] == sum(trained["churn_label"].to_pylist())
    assert month_row["estimated_leavers"] == pytest.approx(rate["estimated"] * month_row["users"])
    assert month_row["estimated_leavers_low"] < month_row["estimated_leavers"]
    assert month_row["estimated_leavers"] < month_row["estimated_leavers_high"]
    each_user = rows("customer_history", FEBRUARY)
    assert month_row["expected_leavers"] == pytest.approx(sum(u["probability"] for u in each_user))
    worth = get_settings().campaign.customer_value
    assert month_row["value_at_risk"] == pytest.approx(worth * month_row["expected_leavers"])
    march = row("month", MARCH)
    assert (march["labelled_users"], march["observed_leavers"]) == (None, None)
    assert march["estimated_leavers"] > 0


def test_the_list_is_the_one_that_the_command_shows(world: World) -> None:
    for month in (FEBRUARY, MARCH):
        shown = {each["user_id"]: each for each in read_actions(month)}
        listed = {each["user_id"]: each for each in rows("action_list", month)}
        assert listed.keys() == shown.keys()
        for user, expected in shown.items():
            assert {name: listed[user][name] for name in expected} == expected
        bands = [listed[user]["band"] for user in shown]
        parts = np.array_split(np.arange(len(shown)), 5)
        assert bands == [n + 1 for n, part in enumerate(parts) for _ in part]
    labels = dict(
        zip(
            *read_training_set(FEBRUARY)
            .rows.select(["user_id", "churn_label"])
            .to_pydict()
            .values(),
            strict=True,
        )
    )
    for each in rows("action_list", FEBRUARY):
        assert each["has_left"] == labels[each["user_id"]]
    assert {each["has_left"] for each in rows("action_list", MARCH)} == {None}


def test_the_history_of_a_user_goes_through_the_months(world: World) -> None:
    every = rows("customer_history")
    assert {each["month"] for each in every} == {FEBRUARY.first_day, MARCH.first_day}
    of_march = [each for each in every if each["month"] == MARCH.first_day]
    assert len(of_march) == row("month", MARCH)["users"]
    first, last = (f(of_march, key=lambda each: each["rank"]) for f in (min, max))
    assert (first["rank"], last["percentile"]) == (1, 0)
    assert first["percentile"] == pytest.approx(100 * (1 - 1 / len(of_march)))
    listed = {each["user_id"]: each["treatment_group"] for each in rows("action_list", MARCH)}
    for each in of_march:
        assert each["is_listed"] == (each["user_id"] in listed)
        assert each["treatment_group"] == listed.get(each["user_id"])


def test_segments_part_the_users_of_a_month(world: World) -> None:
    for month in (FEBRUARY, MARCH):
        of_month = row("month", month)
        segment_rows = rows("segment_month", month)
        assert {each["segment"] for each in segment_rows} == {
            each.name for each in CONTRACT.segments
        }
        for segment in {each["segment"] for each in segment_rows}:
            levels = [each for each in segment_rows if each["segment"] == segment]
            for name in ("users", "expected_leavers", "value_at_risk", "listed_users"):
                assert sum(each[name] for each in levels) == pytest.approx(of_month[name]), name
            weighted = sum(each["expected_lift"] * each["users"] for each in levels)
            assert weighted / of_month["users"] == pytest.approx(1)
            if month == MARCH:
                assert {each["observed_leavers"] for each in levels} == {None}
                continue
            left = sum(each["observed_leavers"] for each in levels)
            assert left == of_month["observed_leavers"]
            worth = get_settings().campaign.customer_value
            assert sum(each["value_lost"] for each in levels) == pytest.approx(left * worth)


def test_a_segments_leavers_are_those_of_its_users(world: World) -> None:
    trained = read_training_set(FEBRUARY).rows.to_pandas()
    probabilities = {
        each["user_id"]: each["probability"] for each in rows("customer_history", FEBRUARY)
    }
    level = trained[trained["contract_type"] == "Month-to-month"]
    [segment_row] = [
        each
        for each in rows("segment_month", FEBRUARY)
        if (each["segment"], each["level"]) == ("contract_type", "Month-to-month")
    ]
    assert segment_row["users"] == len(level)
    assert segment_row["observed_leavers"] == level["churn_label"].sum()
    assert segment_row["observed_rate"] == pytest.approx(level["churn_label"].mean())
    expected = sum(probabilities[user] for user in level["user_id"])
    assert segment_row["expected_leavers"] == pytest.approx(expected)
    lift = level["churn_label"].mean() / trained["churn_label"].mean()
    assert segment_row["observed_lift"] == pytest.approx(lift)


def test_reasons_part_the_list_by_the_first_of_each_user(world: World) -> None:
    for month in (FEBRUARY, MARCH):
        listed = rows("action_list", month)
        counted = Counter((each["reason_1"] or "").partition(": ")[0] for each in listed)
        told = rows("reason_month", month)
        assert {each["reason"]: each["listed_users"] for each in told} == counted
        profit = sum(each["expected_profit"] for each in listed)
        assert sum(each["expected_profit"] for each in told) == pytest.approx(profit)
        called = sum(each["treated_users"] for each in told)
        assert called == row("month", month)["treated_users"]


def test_decisions_are_the_ledgers(world: World) -> None:
    decision_rows = rows("decisions")
    assert len(decision_rows) == len(entries()) == 2
    for each, entry in zip(decision_rows, entries(), strict=True):
        assert each["month"] == entry.month.first_day
        assert f"{each['outcome']}: {each['reasons']}" == sentence(entry)
        assert each["hash"] == entry.hash
        assert each["recorded_at"] == entry.recorded_at == each["updated_at"]
        assert each["decided_for"] == entry.decided_for
        assert each["evidence"] == entry.as_json()["evidence"]
        assert each["is_standing"]
    assert decision_rows[0]["judged_users"] == entries()[0].evidence["rows"] > 0


def test_deliveries_are_what_was_taken_in(world: World) -> None:
    delivery_rows = {(each["month"], each["file"]): each for each in rows("deliveries")}
    for month in (JANUARY, FEBRUARY, MARCH):
        for table in TABLES:
            delivery = in_force(month, table)
            if delivery is None:
                assert (month, table) == (MARCH, LABELS)
                continue
            each = delivery_rows[month.first_day, table.name]
            assert each["delivery_id"] == delivery.delivery_id
            assert (each["sha256"], each["rows"]) == (delivery.sha256, delivery.rows)
            assert (each["version"], each["state"], each["is_in_force"]) == (1, "accepted", True)
            assert each["known_at"] == delivery.known_at
            assert each["due_at"] == (month.matures_at if table == LABELS else month.as_of)
            assert each["is_late"] == (delivery.known_at > each["due_at"])


def test_performance_is_what_monitoring_reads(world: World) -> None:
    for month in (FEBRUARY, MARCH):
        expected = {(each["users"], each["metric"]): each for each in read_performance(month)}
        performance_rows = {
            (each["judged_on"], each["metric"]): each for each in rows("performance", month)
        }
        assert performance_rows.keys() == expected.keys()
        for key, each in performance_rows.items():
            assert each["users"] == expected[key]["rows"]
            for name in ("estimated", "estimated_low", "realised", "realised_high", "error"):
                assert each[name] == expected[key][name]


@pytest.fixture
def called(world: World, tmp_path: Path) -> Iterator[list[str]]:
    """Five users of February's list, whose treatments were reported; it is undone afterwards."""
    users = [each["user_id"] for each in read_actions(FEBRUARY)[:5]]
    path = tmp_path / "calls.csv"
    lines = [f"2024-02,{user},2024-03-05,phone,10 off" for user in users]
    path.write_text("\n".join(["month,user_id,treated_at,channel,offer", *lines]) + "\n")
    load_treatments(path)
    record_uplift(FEBRUARY)
    yield users
    with connect() as connection:
        connection.execute("DELETE FROM treatments")
        connection.execute("DELETE FROM treatment_months")
    record_uplift(FEBRUARY)


def test_treatments_show_at_once_and_move_updated_at(world: World, called: list[str]) -> None:
    listed = {each["user_id"]: each for each in rows("action_list", FEBRUARY)}
    history = {each["user_id"]: each for each in rows("customer_history", FEBRUARY)}
    others = max(each["updated_at"] for user, each in listed.items() if user not in called)
    for user in called:
        for view in (listed, history):
            assert (view[user]["channel"], view[user]["offer"]) == ("phone", "10 off")
            assert view[user]["treated_at"] == dt.date(2024, 3, 5)
            assert view[user]["updated_at"] > others
    assert row("month", FEBRUARY)["contacted_users"] == len(called)
    uplift_row, measured = row("uplift", FEBRUARY), measure_uplift(FEBRUARY)
    assert uplift_row["listed_users"] == len(listed)
    if isinstance(measured, NotClaimed):
        assert (uplift_row["is_claimed"], uplift_row["not_claimed_because"]) == (
            False,
            measured.reason,
        )
    else:
        assert (uplift_row["uplift"], uplift_row["uplift_low"]) == measured.uplift[:2]


@pytest.mark.parametrize("view", [n for n in NAMES if n != "month"])
def test_a_month_is_as_new_as_all_that_is_shown_of_it(
    world: World, called: list[str], view: str
) -> None:
    newest = {each["month"]: each["updated_at"] for each in rows("month")}
    for each in rows(view):
        assert each["updated_at"] <= newest[each["month"]], each


def test_a_session_of_another_time_zone_sees_the_same_months(world: World) -> None:
    for view in NAMES:
        expected = rows(view)
        with psycopg.connect(get_settings().dsn(), options="-c timezone=Pacific/Auckland") as other:
            rows_elsewhere = other.execute(
                f"SELECT * FROM {SCHEMA}.{view} ORDER BY 1, 2, 3"
            ).fetchall()
        assert [tuple(each.values()) for each in expected] == rows_elsewhere
