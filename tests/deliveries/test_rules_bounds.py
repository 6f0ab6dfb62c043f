"""The bounds of numbers: each side of them is held, whether or not the other is there."""

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from churn.contract.structure import KEY, Column, Table
from churn.contract.types import Kind
from churn.deliveries.rules import load

SOUND = 7.0


def problems_of(column: Column, text: str) -> list[str]:
    """Return what is wrong with a file that holds a sound value of the column, and this one."""
    table = Table("figures", "figures", (Column(KEY, "string", required=True), column))
    content = f"{KEY},{column.name}\na,{SOUND:.0f}\nb,{text}\n".encode()
    return [f"{each.row} {each.what}" for each in load(content, table)[1]]


@pytest.mark.parametrize(
    ("kind", "low", "high", "value", "what"),
    [
        ("float", 0, None, "-5.5", "is not a number of 0 or more"),
        ("float", None, 10, "99", "is not a number of at most 10"),
        ("float", 0, 0.5, "0.75", "is not between 0 and 0.5"),
        ("float", None, None, "inf", "is not a finite number"),
        ("float", 0, None, "nan", "is not a number of 0 or more"),
        ("float", None, 10, "-inf", "is not a number of at most 10"),
        ("int", 5, None, "1", "is not 5 or more"),
        ("int", None, 10, "11", "is not at most 10"),
        ("int", 0, 10, "-1", "is not between 0 and 10"),
    ],
)
def test_a_value_beyond_one_bound_is_told(
    kind: Kind, low: float | None, high: float | None, value: str, what: str
) -> None:
    # What is sound beside it lies between the bounds, but where it is too large for them.
    column = Column("x", kind, minimum=low, maximum=high)
    told = [each for each in problems_of(column, value) if each.startswith("3 ")]
    assert told == [f"3 {what}"]


BOUNDS = st.none() | st.integers(-50, 50)


@given(BOUNDS, BOUNDS, st.integers(-60, 60))
@example(None, None, 0)
def test_a_whole_number_is_refused_exactly_where_it_lies_beyond_a_bound(
    low: int | None, high: int | None, value: int
) -> None:
    assume(low is None or high is None or low <= high)
    for kind in ("int", "float"):
        column = Column("x", kind, minimum=low, maximum=high)
        is_within = (low is None or value >= low) and (high is None or value <= high)
        told = [each for each in problems_of(column, str(value)) if each.startswith("3 ")]
        assert bool(told) is not is_within, (kind, low, high, value, told)


def test_unknown_is_within_all_bounds() -> None:
    assert problems_of(Column("x", "float", minimum=0), "") == []
