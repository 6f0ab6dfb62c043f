import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn.contract.in_force import LABELS, TABLES, USERS
from churn.contract.structure import Table
from churn.deliveries.known_at import due_at, known_at
from churn.deliveries.problems import Refusal
from churn.errors import ChurnError
from churn.months import Month
from tests.kit.small_drop import JANUARY, NOW

DAY = dt.timedelta(days=1)
HOUR = dt.timedelta(hours=1)
FEB_2 = dt.datetime(2024, 2, 2, 9, 30, tzinfo=dt.UTC)
FILES = st.sampled_from(TABLES)
INSTANTS = st.datetimes(dt.datetime(2023, 6, 1), dt.datetime(2025, 6, 1), timezones=st.just(dt.UTC))


def test_a_first_delivery_on_time_is_known_at_as_of():
    assert known_at(JANUARY, USERS, now=FEB_2) == JANUARY.as_of
    assert known_at(JANUARY, USERS, now=FEB_2, given=FEB_2 - DAY) == JANUARY.as_of


def test_first_labels_on_time_are_known_when_they_mature():
    assert known_at(JANUARY, LABELS, now=NOW) == JANUARY.next.as_of
    assert due_at(JANUARY, LABELS) == dt.datetime(2024, 2, 29, 23, 59, 59, 999999, dt.UTC)


def test_a_first_delivery_after_the_next_month_is_known_when_it_comes():
    assert known_at(JANUARY, USERS, now=NOW, next_has_begun=True) == NOW
    assert known_at(JANUARY, USERS, now=NOW, given=FEB_2, next_has_begun=True) == FEB_2


def test_history_declared_on_time_is_on_time():
    assert known_at(JANUARY, USERS, now=NOW, history=True, next_has_begun=True) == JANUARY.as_of
    assert (
        known_at(JANUARY, LABELS, now=NOW, history=True, next_has_begun=True) == JANUARY.matures_at
    )


def test_a_correction_is_known_when_it_comes_history_or_not():
    for history in (False, True):
        earlier = [JANUARY.as_of]
        assert known_at(JANUARY, USERS, now=NOW, history=history, earlier=earlier) == NOW
        assert (
            known_at(JANUARY, USERS, now=NOW, given=FEB_2, history=history, earlier=earlier)
            == FEB_2
        )


@pytest.mark.parametrize("given_at", [JANUARY.as_of, FEB_2, FEB_2 - DAY / 2])
def test_a_correction_older_than_what_is_there(given_at: dt.datetime):
    with pytest.raises(ChurnError, match="2024-02-02T09:30:00") as raised:
        known_at(JANUARY, USERS, now=NOW, given=given_at, earlier=[JANUARY.as_of, FEB_2])
    assert "versions known at" in raised.value.what


def test_a_month_that_has_not_closed():
    with pytest.raises(ChurnError, match="2027-03 has not closed yet"):
        known_at(Month.parse("2027-03"), USERS, now=NOW)
    with pytest.raises(ChurnError, match="2027-03 has not closed yet"):
        known_at(Month.parse("2027-03"), USERS, now=NOW, history=True)


def test_a_month_waits_for_its_end_to_the_minute():
    november = Month.parse("2026-11")
    tokyo = dt.datetime(2026, 12, 1, 0, 30, tzinfo=dt.timezone(9 * HOUR))  # 2026-11-30 15:30 UTC
    with pytest.raises(Refusal) as refused:
        known_at(november, USERS, now=tokyo)
    assert "2026-11 has not closed yet: it waits until 2026-12-01 00:00 UTC" in str(refused.value)
    assert "from 2026-12-01 00:00 UTC on" in refused.value.remedy
    assert refused.value.depends_on == {"time"}
    assert refused.value.until == november.as_of
    assert known_at(november, USERS, now=november.as_of) == november.as_of


def test_labels_that_cannot_be_complete():
    with pytest.raises(ChurnError, match="mature when 2024-02 closes"):
        known_at(JANUARY, LABELS, now=FEB_2)


@pytest.mark.parametrize(
    ("given_at", "words"),
    [
        (NOW + DAY, "lies ahead of the delivery"),
        (JANUARY.as_of - DAY, "lies before the month's end"),
        (dt.datetime(2024, 2, 2), "no time zone"),
    ],
)
def test_a_known_at_that_cannot_be(given_at: dt.datetime, words: str):
    for earlier in ([], [JANUARY.as_of]):
        with pytest.raises(ChurnError, match=words):
            known_at(JANUARY, USERS, now=NOW, given=given_at, earlier=earlier)


def test_labels_known_before_their_period_ended():
    with pytest.raises(ChurnError, match="cannot be known at 2024-02-02"):
        known_at(JANUARY, LABELS, now=NOW, given=FEB_2, next_has_begun=True)


@given(
    FILES,
    st.lists(st.tuples(INSTANTS, st.none() | INSTANTS, st.booleans(), st.booleans()), max_size=8),
)
def test_versions_only_ever_get_newer_and_never_precede_their_period(
    table: Table, steps: list[tuple[dt.datetime, dt.datetime | None, bool, bool]]
):
    versions: list[dt.datetime] = []
    for now, given_at, history, next_has_begun in steps:
        try:
            version = known_at(
                JANUARY,
                table,
                now=now,
                given=given_at,
                history=history,
                earlier=versions,
                next_has_begun=next_has_begun,
            )
        except ChurnError:
            continue
        assert due_at(JANUARY, table) <= version <= now
        assert not versions or version > versions[-1]
        if not versions and (history or not next_has_begun):
            assert version == due_at(JANUARY, table)
        else:
            assert version == (given_at or now)
        versions.append(version)
