import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from churn.errors import ChurnError
from churn.months import Month
from churn.population.scenario import Conditions, Scenario
from churn.population.simulate import PlayedMonth, play

FIRST = Month.parse("2024-01")


def run(changes: dict[int, Conditions], users: int = 2000) -> list[PlayedMonth]:
    return list(play(first=FIRST, months=4, users=users, scenario=Scenario(changes)))


def test_conditions_hold_until_the_next() -> None:
    dearer, dearest = Conditions(fee_factor=1.1), Conditions(fee_factor=1.2)
    scenario = Scenario({4: dearest, 2: dearer})
    assert [scenario.at(number) for number in (0, 1, 2, 3, 4, 9)] == [
        Conditions(),
        Conditions(),
        dearer,
        dearer,
        dearest,
        dearest,
    ]


def test_the_first_month_cannot_change() -> None:
    with pytest.raises(ChurnError, match="month number 0"):
        Scenario({0: Conditions(fee_factor=2)})


def test_a_price_rise_moves_fees_and_what_is_paid() -> None:
    plain, raised = run({}), run({2: Conditions(fee_factor=1.1)})
    for number in (0, 1):
        assert raised[number].tables["subscriptions"].equals(plain[number].tables["subscriptions"])
    old, new, last = (
        month.tables["subscriptions"].set_index("user_id")
        for month in (raised[1], raised[2], raised[3])
    )
    stayed = old.index.intersection(new.index).drop("7590-VHVEG")
    fees = np.rint(old.loc[stayed, "monthly_fee"] * 110) / 100
    assert np.allclose(new.loc[stayed, "monthly_fee"], fees, atol=0.011)
    paid = new.loc[stayed, "total_paid"] - old.loc[stayed, "total_paid"]
    assert np.allclose(paid, new.loc[stayed, "monthly_fee"])
    joined = new.loc[new.index.difference(old.index)]
    assert (joined["total_paid"] == joined["monthly_fee"]).all()
    still = last.index.intersection(stayed)
    assert (last.loc[still, "monthly_fee"] == new.loc[still, "monthly_fee"]).all()
    assert last.loc["7590-VHVEG", "monthly_fee"] == 29.85


def test_a_reversed_label_process_keeps_the_rate() -> None:
    plain, reversed_ = run({}), run({2: Conditions(label_slope=-1)})
    assert reversed_[1].oracle.equals(plain[1].oracle)
    assert reversed_[2].tables["subscriptions"].equals(plain[2].tables["subscriptions"])
    now, was = reversed_[2].oracle, plain[2].oracle
    assert now["churn_probability"].mean() == pytest.approx(
        was["churn_probability"].mean(), abs=0.001
    )
    assert roc_auc_score(now["churn_label"], was["churn_probability"]) < 0.25


def test_an_unrelated_label_process_and_a_shift() -> None:
    flat = run({1: Conditions(label_slope=0)})[1].oracle["churn_probability"]
    assert flat[1:].nunique() == 1
    more = run({1: Conditions(label_shift=1)})[1].oracle["churn_probability"].mean()
    assert more > run({})[1].oracle["churn_probability"].mean() + 0.1
