"""What calling brought, as the views tell it: months that add up, levels, and reports that came later."""

import datetime as dt
from pathlib import Path

import numpy as np
import pytest

from churn.database import connect
from churn.evaluation.bootstrap import Interval
from churn.scoring.treatments import Treatment, report_treatments, withdraw_treatments
from churn.scoring.uplift import measure_uplift_by_segment, record_uplift
from tests.kit.action_lists import MAY, USERS, campaign_month, put_labels
from tests.kit.intervals import added_up
from tests.kit.retention_rows import row, rows

pytestmark = pytest.mark.usefixtures("settings")
CALLED = next(user for user in USERS if user not in USERS[::10])


def put_claims(seed: int, months: int = 12) -> list[tuple[dt.date, Interval, Interval, float]]:
    """Keep made-up figures of some months, with months of which nothing is claimed between them."""
    rng = np.random.default_rng(seed)
    kept = []
    with connect() as connection:
        for month in map(MAY.shift, range(months)):
            if rng.random() < 0.3:
                connection.execute(
                    "INSERT INTO monitoring.uplift (as_of, listed, not_claimed) VALUES (%s, 9, 'no')",
                    [month.as_of],
                )
                continue
            saved, profit = (
                Interval(middle, middle - below, middle + above)
                for middle, below, above in zip(
                    rng.normal(0, 40, 2),
                    rng.exponential(20, 2),
                    rng.exponential(20, 2),
                    strict=True,
                )
            )
            cost = float(rng.exponential(100))
            connection.execute(
                "INSERT INTO monitoring.uplift (as_of, listed, uplift, saved_users, saved_users_low,"
                " saved_users_high, profit, profit_low, profit_high, cost)"
                " VALUES (%s, 9, 0, %s, %s, %s, %s, %s, %s, %s)",
                [month.as_of, *map(float, (*saved, *profit)), cost],
            )
            kept.append((month.first_day, saved, profit, cost))
    return kept


@pytest.mark.parametrize("seed", range(5))
def test_months_add_up_as_intervals_do(seed: int) -> None:
    kept = put_claims(seed)
    told = rows("uplift_total")
    assert [each["month"] for each in told] == [month for month, *_ in kept]
    for count, each in enumerate(told, start=1):
        of = kept[:count]
        for name, sums in (
            ("saved_users", added_up([saved for _, saved, _, _ in of])),
            ("profit", added_up([profit for _, _, profit, _ in of])),
        ):
            shown = tuple(each[f"{name}{side}"] for side in ("", "_low", "_high"))
            assert shown == pytest.approx(tuple(sums))
        assert each["months"] == count
        assert each["cost"] == pytest.approx(sum(cost for *_, cost in of))
        assert each["is_shown"] == (each["saved_users_low"] > 0)


def test_a_month_alone_is_its_own_total(tmp_path: Path) -> None:
    campaign_month(tmp_path)
    put_labels(MAY, USERS[:100], USERS[100:])
    record_uplift(MAY)
    found, total = row("uplift", MAY), row("uplift_total", MAY)
    shared = found.keys() & total.keys() - {"updated_at"}
    assert len(shared) > 7
    for name in shared - {"month", "is_shown"}:
        assert total[name] == pytest.approx(found[name]), name


def test_levels_are_told_as_they_are_measured_and_go_when_they_are_not(tmp_path: Path) -> None:
    campaign_month(tmp_path, control=100)
    with connect() as connection:
        connection.execute(
            """UPDATE action_list SET segments = CASE WHEN user_id < 'u250' THEN '{"plan": "a"}'::jsonb
            ELSE '{"plan": "b"}'::jsonb END"""
        )
    put_labels(MAY, USERS[:100], USERS[100:])
    record_uplift(MAY)
    measured = measure_uplift_by_segment(MAY)
    a, b = rows("uplift_segment", MAY)
    assert [(each["segment"], each["level"]) for each in (a, b)] == list(measured)
    assert max(a["updated_at"], b["updated_at"]) <= row("uplift", MAY)["updated_at"]
    assert (a["uplift"], a["uplift_low"], a["uplift_high"]) == measured["plan", "a"].uplift
    assert (a["is_claimed"], a["listed_users"]) == (True, 250)
    assert (b["is_claimed"], b["uplift"], b["listed_users"]) == (False, None, 50)
    assert b["not_claimed_because"] == measured["plan", "b"].reason
    with connect() as connection:
        connection.execute("UPDATE action_list SET segments = NULL")
    record_uplift(MAY)
    assert rows("uplift_segment", MAY) == []


@pytest.mark.parametrize("channel", ["phone", "letter"])
def test_a_report_that_takes_the_place_of_another_is_seen(tmp_path: Path, channel: str) -> None:
    campaign_month(tmp_path)
    put_labels(MAY, USERS[:100], USERS[100:])
    record_uplift(MAY)
    before = row("uplift", MAY)
    assert before["is_outdated"] is False
    again = Treatment(CALLED, dt.date(2024, 6, 3), channel)
    report_treatments(MAY, [again], actor="ann")  # by phone: as it was reported before
    after = row("uplift", MAY)
    assert after["is_outdated"] is (channel == "letter")
    assert (after["updated_at"] > before["updated_at"]) is (channel == "letter")
    assert after["measured_at"] == before["measured_at"]
    assert after["updated_at"] <= row("month", MAY)["updated_at"] if rows("month") else True
    record_uplift(MAY)
    assert row("uplift", MAY)["is_outdated"] is False


def test_what_was_withdrawn_counts_no_more(tmp_path: Path) -> None:
    campaign_month(tmp_path, called=2)
    put_labels(MAY, USERS[:100], USERS[100:])
    record_uplift(MAY)
    assert row("uplift", MAY)["contacted_users"] == 2
    listed = {each["user_id"]: each for each in rows("action_list", MAY)}
    for gone, left in enumerate((1, 0)):
        user = [user for user in USERS if user not in USERS[::10]][gone]
        with connect() as connection:
            assert withdraw_treatments(MAY, [user], actor="ann", connection=connection) == 1
        assert row("uplift", MAY)["is_outdated"]
        for view in ("action_list", "customer_history"):
            told = {each["user_id"]: each for each in rows(view)}
            assert (told[user]["treated_at"], told[user]["channel"]) == (None, None)
            assert told[user]["updated_at"] > listed[user]["updated_at"]
        record_uplift(MAY)
        again = row("uplift", MAY)
        assert again["is_outdated"] is False
        if left:
            assert again["contacted_users"] == left
        else:
            assert "no treatment was reported" in again["not_claimed_because"]
