"""A month's segments and reasons as the views tell them: bounds, and changes that are claimed or not."""

import itertools

import numpy as np
import pytest
from scipy.stats import binomtest

from churn.database import connect
from churn.monitoring.segments import SegmentLeavers
from churn.monitoring.store import keep_segments
from churn.months import Month
from churn.promotion.ledger import keep_release
from tests.kit.action_lists import MAY
from tests.kit.console_lists import Row, put_month
from tests.kit.releases import release
from tests.kit.retention_rows import rows

pytestmark = pytest.mark.usefixtures("settings")
LEAST = 50


def put_levels(month: Month, levels: dict[str, tuple[int, int]], labelled: bool = True) -> None:
    """Keep levels, each with its users and with how many of them leave, as expected and as observed."""
    served = release()
    with connect() as connection:
        keep_release(connection, served)
    figures = [
        SegmentLeavers(
            "plan", level, users, float(left), None, users // 2, 1.0,
            users if labelled else 0, left if labelled else None,
        )
        for level, (users, left) in levels.items()
    ]  # fmt: skip
    keep_segments(month, served.release_id, figures)


def drawn(seed: int) -> dict[str, tuple[int, int]]:
    """Return levels of any size, the edges among them."""
    rng = np.random.default_rng(seed)
    sizes = [1, 49, 50, 51, *rng.integers(1, 3_000, 20).tolist()]
    levels = {
        f"level {n}": (size, int(rng.binomial(size, rng.random()))) for n, size in enumerate(sizes)
    }
    return levels | {"nobody": (200, 0), "everybody": (200, 200)}


@pytest.mark.parametrize("seed", range(3))
def test_bounds_are_wilsons_and_a_change_is_claimed_where_they_lie_apart(seed: int) -> None:
    before, now = drawn(seed), drawn(seed + 100)
    put_levels(MAY, before)
    put_levels(MAY.next, now)
    told = rows("segment_month", MAY.next)
    assert {each["level"] for each in told} == set(now)

    def bounds(users: int, left: int) -> tuple[float, float]:
        interval = binomtest(left, users).proportion_ci(method="wilson")
        return interval.low, interval.high

    for each in told:
        size, left = now[each["level"]]
        low, high = bounds(size, left)
        size_before, left_before = before[each["level"]]
        low_before, high_before = bounds(size_before, left_before)
        apart = low > high_before or high < low_before
        is_claimed = apart and min(size, size_before) >= LEAST
        for what in ("expected", "observed"):
            assert each[f"{what}_rate_low"] == pytest.approx(low, abs=1e-9)
            assert each[f"{what}_rate_high"] == pytest.approx(high, abs=1e-9)
            change = left / size - left_before / size_before
            assert each[f"{what}_change"] == pytest.approx(change)
            assert (each[f"{what}_change_not_claimed_because"] is None) == is_claimed
        assert each["users_before"] == size_before
        assert each["listed_share"] == pytest.approx((size // 2) / size)
    assert sum(each["share_of_list"] for each in told) == pytest.approx(1)


def test_the_month_before_is_that_of_the_calendar() -> None:
    put_levels(MAY, {"a": (900, 90)})
    put_levels(MAY.shift(2), {"a": (900, 400)}, labelled=False)
    [found] = rows("segment_month", MAY.shift(2))
    assert (found["users_before"], found["expected_change"], found["observed_change"]) == (
        None,
    ) * 3
    assert (
        found["expected_change_not_claimed_because"] == "there are no figures of the month before"
    )
    assert found["observed_change_not_claimed_because"] == "who left is not known yet"
    assert (found["observed_rate_low"], found["observed_rate_high"]) == (None, None)


def test_a_row_is_as_new_as_the_month_before_that_it_is_compared_with() -> None:
    put_levels(MAY, {"a": (900, 90)})
    put_levels(MAY.next, {"a": (900, 90)})
    before = rows("segment_month", MAY.next)[0]["updated_at"]
    put_levels(MAY, {"a": (900, 91)})
    assert rows("segment_month", MAY.next)[0]["updated_at"] > before


def test_reasons_part_the_list_by_the_first_of_each_user() -> None:
    groups = itertools.cycle(["treated", "treated", "control"])
    reasons = [("monthly_fee", "contract_type")] * 4 + [("contract_type",)] * 2 + [()]
    put_month(
        MAY,
        [
            Row(f"u{n}", n, 0.5, reasons=each, group=next(groups), profit=10.0 * n)
            for n, each in enumerate(reasons, start=1)
        ],
    )
    told = {each["reason"]: each for each in rows("reason_month", MAY)}
    assert {
        reason: (each["listed_users"], each["treated_users"], each["expected_profit"])
        for reason, each in told.items()
    } == {
        "fee of the month, in currency units": (4, 3, 100.0),
        "contract": (2, 1, 110.0),
        "": (1, 1, 70.0),
    }
    assert sum(each["share_of_list"] for each in told.values()) == pytest.approx(1)
