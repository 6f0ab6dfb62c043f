import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn.errors import ChurnError
from churn.months import Month, months_between

MONTHS = st.dates(dt.date(1990, 1, 1), dt.date(2090, 12, 1)).map(lambda d: Month(d.replace(day=1)))


def test_a_month_closes_one_microsecond_before_the_next_begins() -> None:
    month = Month.parse("2024-02")
    assert month.as_of == dt.datetime(2024, 2, 29, 23, 59, 59, 999_999, dt.UTC)
    assert (month.partition_key, str(month), str(month.as_of_date)) == (
        "2024-02-01",
        "2024-02",
        "2024-02-29",
    )
    assert month.matures_at == Month.parse("2024-03-01").as_of


@pytest.mark.parametrize(
    "text", ["2024", "2024-13", "2024-00", "2024-01-02", "24-01", "2024-1", ""]
)
def test_what_is_no_month_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(ChurnError, match="write a month as 2024-01"):
        Month.parse(text)


@given(MONTHS, st.integers(-400, 400))
def test_shifting_and_subtracting_are_inverse(month: Month, count: int) -> None:
    assert month.shift(count) - month == count
    assert month.shift(count).shift(-count) == month


@given(MONTHS)
def test_the_calendar_has_no_gap_and_no_overlap(month: Month) -> None:
    assert month.next.as_of > month.as_of
    assert Month.of_as_of(month.as_of) == month
    assert Month.of_as_of(month.as_of + dt.timedelta(microseconds=1)) == month.next
    assert Month.parse(str(month)) == Month.parse(month.partition_key) == month


@given(MONTHS, st.integers(0, 40))
def test_months_between_counts_both_ends(first: Month, count: int) -> None:
    months = list(months_between(first, first.shift(count)))
    assert len(months) == count + 1
    assert months == sorted(set(months))
    assert months[count].folder(first) == f"month_{count:03d}"
