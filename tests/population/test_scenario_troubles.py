"""What is planted in two years, and how each drop then comes."""

from collections import Counter

import pytest

from churn.population.scenario import LEAST_MONTHS, MONTHS, Troubles

TROUBLES = Troubles()


@pytest.mark.parametrize("months", range(LEAST_MONTHS, MONTHS + 1))
def test_every_month_s_drop_and_labels_come_once_unless_lost(months: int) -> None:
    plan = Troubles.within(months)
    came = Counter(
        (arrival.number, arrival.how)
        for number in range(months)
        for arrival in plan.arrivals(number)
    )
    assert set(came.values()) == {1}
    for number in range(months - 1):
        how = {each for at, each in came if at == number}
        if number == plan.lost:
            assert how == set()
        elif number == plan.late:
            assert how == {"late drop"}
        else:
            assert how == {"drop", "labels"} | (
                {"correction"} if number == plan.corrected else set()
            )


@pytest.mark.parametrize("months", range(LEAST_MONTHS, MONTHS + 1))
def test_fewer_months_have_the_same_troubles_in_the_same_order_before_their_end(
    months: int,
) -> None:
    plan = Troubles.within(months)
    assert list(plan.planted.values()) == list(TROUBLES.planted.values())
    places = [0, plan.price_rise, plan.corrected, plan.late, plan.label_process, plan.lost]
    assert sorted(set(places)) == places
    # The decision on what is lost is taken with the first month that is trained on after it, at the end.
    assert plan.lost == plan.months - 3
    assert Troubles.within(MONTHS) == TROUBLES


def test_what_is_late_comes_after_the_next_month_s_drop() -> None:
    arrivals = list(TROUBLES.arrivals(TROUBLES.late + 1))
    assert [(each.number, each.how) for each in arrivals] == [
        (TROUBLES.late + 1, "drop"),
        (TROUBLES.late, "late drop"),
    ]


def test_the_world_changes_when_it_is_said_to() -> None:
    scenario = TROUBLES.scenario
    assert scenario.at(TROUBLES.price_rise - 1).fee_factor == 1
    assert scenario.at(TROUBLES.price_rise).fee_factor == 1.25
    assert scenario.at(TROUBLES.label_process - 1).label_slope == 1
    assert scenario.at(MONTHS).label_slope == -1
    assert set(TROUBLES.planted) == {6, 9, 12, 15, 21}
    assert len(set(TROUBLES.planted.values())) == 5
