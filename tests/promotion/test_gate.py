import datetime as dt
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from churn.evaluation.bootstrap import Interval
from churn.promotion.gate import BASE_RATE, TENURE, Evidence, Figures, judge
from churn.settings import GateSettings

MARCH = dt.date(2024, 3, 31)
GATE = GateSettings(profit_margin=0.1, auc_margin=-0.005, auc_floor=0.7)


def figures(auc: float = 0.8, as_of: dt.date = dt.date(2024, 1, 31)) -> Figures:
    sure = Interval(auc, auc - 0.02, auc + 0.02)
    return Figures("a" * 64, "1", "forest", "churn_rich", as_of, "f", 0.5, sure, sure, empc=1.0)


def against(
    profit: tuple[float, float, float], auc: tuple[float, float, float], champion: float = 0.8
) -> Evidence:
    """A challenger against a champion; differences as (low, estimate, high)."""
    return Evidence(
        month="2024-03",
        month_end=MARCH,
        rows=1760,
        left=460,
        fingerprint="f",
        challenger=figures(as_of=dt.date(2024, 2, 29)),
        champion=figures(champion),
        differences={
            name: Interval(estimate, low, high)
            for name, (low, estimate, high) in (("profit", profit), ("auc", auc))
        },
    )


def first(base_rate: float, tenure: float) -> Evidence:
    """A first release: the lower bound over the base rate, the estimate over tenure alone."""
    return Evidence(
        month="2024-03",
        month_end=MARCH,
        rows=1760,
        left=460,
        fingerprint="f",
        trigger="first release",
        challenger=figures(as_of=MARCH),
        differences={
            BASE_RATE: Interval(base_rate + 0.1, base_rate, base_rate + 0.2),
            TENURE: Interval(tenure, tenure - 0.1, tenure + 0.1),
        },
    )


BETTER = against((0.2, 0.5, 0.8), (0.01, 0.02, 0.03))


@pytest.mark.parametrize(
    ("evidence", "promoted", "rule"),
    [
        (BETTER, True, "better"),
        (against((0.11, 0.5, 0.8), (-0.004, 0.0, 0.01)), True, "better"),
        # profit: at the margin, below it
        (against((0.1, 0.5, 0.8), (0.01, 0.02, 0.03)), False, "none"),
        (against((-0.1, 0.5, 0.8), (0.01, 0.02, 0.03)), False, "none"),
        # more profit, but it ranks worse
        (against((0.2, 0.5, 0.8), (-0.005, 0.0, 0.01)), False, "none"),
        (against((0.2, 0.5, 0.8), (-0.02, -0.01, 0.0)), False, "none"),
        # the champion is below its floor
        (against((-1, 0.0, 1), (0.01, 0.02, 0.03), champion=0.69), True, "below its floor"),
        (against((-1, 0.0, 1), (0.01, 0.02, 0.03), champion=0.70), False, "none"),
        (against((-1, 0.0, 1), (0.0, 0.02, 0.03), champion=0.69), False, "none"),
        (against((-1, 0.0, 1), (-0.01, 0.02, 0.03), champion=0.49), False, "none"),
        (first(0.01, 0.01), True, "first release"),
        (first(0.0, 0.01), False, "none"),
        (first(0.01, 0.0), False, "none"),
        (first(0.2, -0.01), False, "none"),
    ],
)
def test_each_rule_both_ways(evidence: Evidence, promoted: bool, rule: str) -> None:
    verdict = judge(evidence, GATE)
    assert (verdict.is_promoted, verdict.rule) == (promoted, rule)
    assert verdict.reasons


NAN = Interval(math.nan, math.nan, math.nan)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"problem": "MLflow has lost the file"}, "MLflow has lost the file"),
        ({"challenger": None}, "there is no challenger"),
        ({"rows": 0, "left": 0}, "0 of 0 users left: both classes are needed"),
        ({"left": 0}, "0 of 1760 users left"),
        ({"left": 1760}, "1760 of 1760 users left"),
        ({"left": math.nan}, "not counts"),
        ({"differences": {}}, "difference in profit: missing"),
        ({"differences": {"profit": NAN, "auc": NAN}}, "difference in profit: (nan, nan, nan)"),
        ({"differences": {"profit": Interval(0.5, 0.8, 0.2)}}, "are no interval"),
        ({"challenger": figures(math.nan)}, "auc of the challenger"),
        ({"champion": figures(math.nan)}, "auc of the champion"),
        ({"challenger": figures(as_of=MARCH)}, "the challenger was trained on 2024-03-31"),
        ({"champion": figures(as_of=MARCH)}, "the champion was trained on 2024-03-31"),
        ({"month_end": None}, "None is no date"),
        ({"differences": None}, "the evidence cannot be judged: AttributeError"),
    ],
)
def test_what_is_wrong_keeps_and_is_said(change: dict[str, Any], message: str) -> None:
    assert judge(BETTER, GATE).is_promoted
    verdict = judge(replace(BETTER, **change), GATE)
    assert (verdict.is_promoted, verdict.rule) == (False, "none")
    assert message in "; ".join(verdict.reasons)


def test_margins_that_are_no_numbers_promote_nobody() -> None:
    for name in ("profit_margin", "auc_margin"):
        gate = GATE.model_copy(update={name: math.nan})
        assert not judge(BETTER, gate).is_promoted


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.dates(),
    st.lists(st.floats(), max_size=3),
    st.builds(Interval, st.floats(), st.floats(), st.floats()),
    st.just(figures()),
)
GARBAGE = st.one_of(
    ANYTHING,
    st.dictionaries(st.text(), ANYTHING),
    st.builds(
        Evidence,
        month=ANYTHING,
        month_end=ANYTHING,
        rows=ANYTHING,
        left=ANYTHING,
        challenger=ANYTHING,
        champion=ANYTHING,
        differences=ANYTHING,
        problem=ANYTHING,
    ),
)


@given(GARBAGE)
def test_garbage_is_never_promoted(garbage: Any) -> None:
    verdict = judge(garbage, GATE)
    assert not verdict.is_promoted
    assert all(verdict.reasons)
    assert verdict.reasons


NEEDED = ("month_end", "rows", "left", "challenger", "differences", "problem")


@given(st.sampled_from([BETTER, first(0.1, 0.1)]), st.sampled_from(NEEDED), ANYTHING)
def test_one_part_that_is_garbage_is_enough(good: Evidence, name: str, garbage: Any) -> None:
    assert judge(good, GATE).is_promoted
    assume(garbage != getattr(good, name))
    assume(not (name in {"rows", "left"} and isinstance(garbage, int)))  # another sound count
    assume(not (name == "challenger" and isinstance(garbage, Figures)))
    assume(not (name == "month_end" and isinstance(garbage, dt.date)))
    assume(not (name == "problem" and not garbage))  # nothing is wrong
    assert not judge(replace(good, **{name: garbage}), GATE).is_promoted


numbers = st.floats(-1, 1)


@given(st.tuples(numbers, numbers, numbers), st.tuples(numbers, numbers, numbers), st.floats(0, 1))
def test_whoever_is_promoted_has_cleared_a_rule(
    profit: tuple[float, float, float], auc: tuple[float, float, float], champion: float
) -> None:
    evidence = against(
        (min(profit), sorted(profit)[1], max(profit)),
        (min(auc), sorted(auc)[1], max(auc)),
        champion,
    )
    by_gain = min(profit) > 0.1 and min(auc) > -0.005
    by_floor = champion < 0.7 and min(auc) > 0
    assert judge(evidence, GATE).is_promoted == (by_gain or by_floor)
