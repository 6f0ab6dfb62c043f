"""What is planted in two years, and how each drop then comes."""

from collections import Counter

from churn.population.troubles import MONTHS, Troubles

TROUBLES = Troubles()


def test_every_month_s_drop_and_labels_come_once_unless_lost() -> None:
    came = Counter(
        (arrival.number, arrival.how)
        for number in range(MONTHS)
        for arrival in TROUBLES.arrivals(number)
    )
    assert set(came.values()) == {1}
    for number in range(MONTHS - 1):
        how = {each for at, each in came if at == number}
        if number == TROUBLES.lost:
            assert how == set()
        elif number == TROUBLES.late:
            assert how == {"late drop"}
        else:
            assert how == {"drop", "labels"} | (
                {"correction"} if number == TROUBLES.corrected else set()
            )


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
