"""What the pages say in words, of made-up months: each sentence where it belongs and nowhere else."""

import datetime as dt
import math
from dataclasses import replace

import pytest

from console.months import MonthRow
from console.pages import chart as chart_text
from console.routes import data
from console.routes.month import awaited, compared, in_words
from console.routes.trust import METRICS, PerformanceRow, drawn

DECEMBER = MonthRow(
    month=dt.date(2024, 12, 1),
    labels_due=dt.date(2025, 1, 31),
    awaits_drop=False,
    awaits_scores=False,
    awaits_labels=True,
    behind=None,
    scored_at=dt.datetime(2025, 1, 1, tzinfo=dt.UTC),
    release_id="a" * 64,
    release_version="3",
    release_candidate="boosting",
    release_trained_on=dt.date(2024, 1, 1),
    users=7_043,
    expected_leavers=1_850.4,
    estimated_leavers=1_870.2,
    estimated_leavers_low=1_790.0,
    estimated_leavers_high=1_950.0,
    labelled_users=None,
    observed_leavers=None,
    value_at_risk=370_080.0,
    listed_users=1_000,
    treated_users=900,
    control_users=100,
    expected_profit=39_678.4,
    contacted_users=0,
    list_hash="b" * 64,
    drift_alarm=None,
    performance_alarm=None,
    open_alarms=0,
    decision=None,
    decision_seq=None,
)
NOVEMBER = replace(
    DECEMBER,
    month=dt.date(2024, 11, 1),
    labels_due=dt.date(2024, 12, 31),
    awaits_labels=False,
    users=7_000,
    estimated_leavers=1_750.0,
    labelled_users=6_990,
    observed_leavers=1_742,
    contacted_users=None,
)


def words(now: MonthRow, before: MonthRow | None = None) -> str:
    return " ".join(in_words(now, before))


def test_a_month_in_words() -> None:
    assert words(DECEMBER, NOVEMBER) == (
        "Of 7,043 users, about 1,870 (1,790 to 1,950) are expected to leave by 31 Jan 2025, more than in the"
        " month before (26.6 % instead of 25.0 %). Calling the 900 users of the list that are to be called"
        " should bring 39,678 currency units."
    )


def test_without_bounds_or_a_month_before_nothing_is_claimed() -> None:
    plain = replace(
        DECEMBER,
        estimated_leavers=None,
        estimated_leavers_low=None,
        estimated_leavers_high=None,
        treated_users=None,
        listed_users=None,
    )
    assert words(plain) == "Of 7,043 users, about 1,850 are expected to leave by 31 Jan 2025."


def test_the_share_counts_and_not_the_number() -> None:
    shrunk = replace(NOVEMBER, users=3_500, estimated_leavers=900.0)
    assert "fewer than in the month before (25.0 % instead of 25.7 %)" in words(NOVEMBER, shrunk)
    same = replace(NOVEMBER, users=14_000, estimated_leavers=3_501.0)
    assert "the same share as in the month before (25.0 %)" in words(NOVEMBER, same)


def test_what_is_known_by_now_is_said() -> None:
    assert "It is known by now of 6,990, of whom 1,742 left." in words(NOVEMBER)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"treated_users": 0, "listed_users": 0}, "Calling nobody pays: the list is empty."),
        ({"open_alarms": 1}, "Look at the alarm before you rely on it."),
        ({"open_alarms": 2}, "Look at the alarms before you rely on it."),
    ],
)
def test_what_makes_a_difference_is_said(more: dict[str, int], sentence: str) -> None:
    assert sentence in words(replace(DECEMBER, **more))
    assert sentence not in words(DECEMBER)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"users": None, "awaits_drop": True}, ": its drop is not here"),
        ({"users": None, "awaits_scores": True}, ": its drop is here and waits to be scored"),
        ({"users": 0, "release_id": None}, ": no release was in force"),
        ({"users": 0}, ""),
    ],
)
def test_why_nobody_was_scored(more: dict[str, object], why: str) -> None:
    row = replace(DECEMBER, **more)  # type: ignore[arg-type]
    assert words(row, NOVEMBER) == f"Nobody was scored in December 2024{why}."


def test_figures_beside_those_of_the_month_before() -> None:
    rows = {row.name: (row.now, row.before, row.change) for row in compared(DECEMBER, NOVEMBER)}
    assert rows["users"] == ("7,043", "7,000", "+43")
    assert rows["expected leavers, users"] == ("1,870", "1,750", "+120")
    assert rows["expected leavers, share of users"] == ("26.6 %", "25.0 %", "+1.6 points")
    assert rows["left, users"] == ("\N{EN DASH}", "1,742", "")
    assert rows["users on the list"] == ("1,000", "1,000", "0")
    back = {row.name: row.change for row in compared(NOVEMBER, DECEMBER)}
    assert back["users"] == "-43"
    assert {row.change for row in compared(NOVEMBER, None)} == {""}


def test_what_is_awaited_begins_with_the_oldest() -> None:
    october = replace(NOVEMBER, month=dt.date(2024, 10, 1), awaits_drop=True, awaits_labels=True)
    failed = replace(NOVEMBER, awaits_scores=True, behind="score_month of 2024-11 has failed")
    assert list(awaited([DECEMBER, failed, october])) == [
        ("2024-10", "The drop of October 2024 is not here, though a later one is."),
        ("2024-11", "The drop of November 2024 is here and waits to be scored."),
        ("2024-11", "score_month of 2024-11 has failed"),
        ("2024-12", "Who left after December 2024: the labels are due on 31 Jan 2025."),
    ]
    assert data.in_words([DECEMBER, failed, october]) == (
        "2 months are here, October 2024 to December 2024. Between them October 2024 is missing."
        " The next labels are due on 31 Jan 2025."
    )


def test_a_chart_has_gaps_where_nothing_is_known() -> None:
    row = PerformanceRow(
        DECEMBER.month, 10, 0.25, 0.2, 0.3, None, None, None, None, None, DECEMBER.release_id or ""
    )
    unknown = replace(row, estimated=math.nan, estimated_low=math.nan)
    assert "NaN" not in chart_text(drawn([unknown], METRICS["churn_rate"]))
    chart = drawn([row], METRICS["churn_rate"])
    estimated, realised = chart["series"]
    assert (chart["x"], chart["unit"]) == (["2024-12"], "%")
    assert (estimated["values"], estimated["low"], estimated["high"]) == ([25.0], [20.0], [30.0])
    assert realised["values"] == realised["low"] == [None]
