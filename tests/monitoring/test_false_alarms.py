"""The thresholds: how they come about; fresh clean worlds keep quiet, a price rise does not."""

import numpy as np
import pytest

from churn.errors import ChurnError
from churn.monitoring import false_alarms
from churn.monitoring.distance import FEATURES, Distance
from churn.monitoring.thresholds import SCORE, Thresholds, simulated_thresholds
from tests.kit.streamflow import FIRST
from tests.kit.watched_months import drift_between, model_of, world

FRESH = (901, 902, 903)  # seeds that the derivation has not seen


def test_fresh_clean_worlds_alarm_no_more_often_than_stated() -> None:
    alarming, months = [], 0
    for users in (1_000, 3_000):
        for seed in FRESH:
            played, model = world(6, users, seed), model_of(users, seed)
            for current in range(1, 6):
                drifted = drift_between(played, 0, current, model).drifted
                alarming += [(users, seed, current, drifted[0].feature)] if drifted else []
                months += 1
    assert months == 30
    assert len(alarming) <= 2, alarming  # 3 or more of 30 would be one chance in 300


@pytest.mark.parametrize(("users", "age"), [(1_000, 1), (3_000, 1), (3_000, 5)])
def test_a_price_rise_alarms(users: int, age: int) -> None:
    played = world(age + 1, users, 911, fee_factor=1.3)
    drifted = drift_between(played, 0, age, model_of(users, 911)).drifted
    assert drifted[0].feature == "monthly_fee"


def test_every_column_has_a_threshold_at_every_age() -> None:
    """A column that came with a later version has that of its kind, until they are derived anew."""
    table = simulated_thresholds()
    of_the_first = {name for service in FIRST.services for name in service.feature_names}
    assert (
        of_the_first | {SCORE} <= set(table.turnover) <= {each.name for each in FEATURES} | {SCORE}
    )
    assert {len(ages) for ages in table.turnover.values()} == {false_alarms.OLDEST}
    assert all((np.diff(ages) >= 0).all() for ages in table.turnover.values())
    assert table.share == false_alarms.SHARE == 0.01
    assert 1.5 < table.sampling < 4


def test_a_threshold_is_turnover_and_a_multiple_of_chance() -> None:
    table = Thresholds(0.01, 2.5, {"monthly_fee": [0.1, 0.2]})
    distance = Distance(0.3, 0.02)
    assert table.of("monthly_fee", distance, 1) == (pytest.approx(0.15), False)
    assert (
        table.of("monthly_fee", distance, 2)
        == table.of("monthly_fee", distance, 30)
        == (0.25, False)
    )
    for column, age in (("fee", 1), ("monthly_fee", 0)):
        with pytest.raises(ChurnError, match="no threshold for"):
            table.of(column, distance, age)


def test_a_column_that_was_not_simulated_has_the_threshold_of_its_kind() -> None:
    simulated, other = simulated_thresholds(), simulated_thresholds("another business")
    assert simulated.provisional == false_alarms.liveliest(simulated.turnover) | {
        SCORE: simulated.turnover[SCORE]
    }
    distance = Distance(0.3, 0.01)
    chance = simulated.sampling * 0.01
    # Of StreamFlow's columns a counter moves most: whoever joins begins at the bottom of it.
    for column, liveliest in (
        ("months_active", "months_active"),  # counts months
        ("skips_7d", "monthly_fee"),  # a number
        ("user_is_senior", "plan_stream_tv"),  # a flag
        ("user_gender", "net_service"),  # a text
        (SCORE, SCORE),
    ):
        expected = simulated.turnover[liveliest][0] + chance
        assert other.of(column, distance, 1) == (pytest.approx(expected), True)
        assert simulated.of(column, distance, 1).is_provisional is False
    with pytest.raises(ChurnError, match="no threshold for live_hours_30d"):
        simulated.of("live_hours_30d", distance, 1)


def test_turnover_is_the_farthest_reference_without_chance() -> None:
    def seen(value: float) -> dict[str, Distance]:
        return {"x": Distance(value, 0.03)}

    moved = false_alarms.turnover(
        [(0, 1, seen(0.05)), (3, 1, seen(0.03)), (0, 2, seen(0.02)), (0, 3, seen(0.13))], oldest=3
    )
    assert moved == {"x": [0.04, 0.04, 0.1265]}  # an older reference is never the stricter one


def test_the_multiple_lets_the_stated_share_of_months_alarm() -> None:
    moved = {"x": [0.1], "y": [0.0]}
    month = {"x": Distance(0.15, 0.02), "y": Distance(0.03, 0.01), "z": Distance(0.0, 0.0)}
    assert false_alarms.excess(month, moved | {"z": [0.0]}, 1) == pytest.approx(3.0)
    months = np.random.default_rng(2).normal(2, 0.3, 2_000)
    assert (months > false_alarms.sampling(months.tolist())).mean() == pytest.approx(
        0.01, abs=0.001
    )
