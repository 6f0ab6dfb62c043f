import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from churn.contract.in_force import PROFILE_TABLES, TABLES
from churn.contract.structure import Column
from churn.errors import ChurnError
from churn.months import Month
from churn.population.simulate import PlayedMonth, play

FIRST = Month.parse("2024-01")
EXAMPLE = "7590-VHVEG"


def profile(month: PlayedMonth) -> pd.DataFrame:
    return month.tables["subscriptions"].set_index("user_id")


def leavers(month: PlayedMonth) -> set[str]:
    labels = month.tables["labels"]
    return set(labels["user_id"][labels["churn_label"]])


def possible(values: pd.Series, column: Column) -> bool:
    if column.kind == "string" and column.expected:
        return bool(values.isin(column.expected).all())
    known = values.dropna()
    low = column.minimum is None or bool((known >= column.minimum).all())
    high = column.maximum is None or bool((known <= column.maximum).all())
    return low and high and not (column.required and len(known) < len(values))


def test_the_months_are_those_asked_for(played: list[PlayedMonth]) -> None:
    assert [str(month.month) for month in played] == [f"2024-0{number}" for number in range(1, 7)]


def test_the_first_month_is_the_benchmark(played: list[PlayedMonth], base: pd.DataFrame) -> None:
    first = profile(played[0])
    assert list(first.index) == list(base["user_id"])
    assert (first["monthly_fee"].to_numpy() * 100).round().sum() == base["fee_cents"].sum()
    labels = played[0].tables["labels"]["churn_label"]
    assert labels.to_numpy().tolist() == base["churn_label"].to_list()


def test_the_worked_example_stays_at_its_fee(played: list[PlayedMonth]) -> None:
    for number, month in enumerate(played):
        user = profile(month).loc[EXAMPLE]
        assert user["monthly_fee"] == 29.85
        assert user["months_active"] == number + 1
        assert user["paperless_billing"]
        assert user["total_paid"] == pytest.approx(29.85 * (number + 1))
        assert EXAMPLE not in leavers(month)


@settings(max_examples=8)
@given(seed=st.integers(0, 2**32), users=st.integers(1, 60))
def test_any_seed_and_size_keep_the_rules(seed: int, users: int) -> None:
    months = list(play(first=FIRST, months=4, users=users, seed=seed))
    for before, after in itertools.pairwise(months):
        assert set(profile(before).index) - set(profile(after).index) == leavers(before)
    for month in months:
        assert len(profile(month)) == users
        assert EXAMPLE in profile(month).index


def test_leavers_go_stayers_stay_joiners_are_new(played: list[PlayedMonth]) -> None:
    ever: set[str] = set()
    for before, after in itertools.pairwise(played):
        old, new = profile(before), profile(after)
        ever |= set(old.index)
        gone, come = set(old.index) - set(new.index), set(new.index) - set(old.index)
        assert gone == leavers(before)
        assert len(come) == len(gone)
        assert not come & ever - set(old.index)
        assert (new.loc[list(come), "months_active"] == 1).all()
        stayed = list(set(old.index) & set(new.index))
        assert (new.loc[stayed, "months_active"] == old.loc[stayed, "months_active"] + 1).all()
        paid = new.loc[stayed, "total_paid"] - old.loc[stayed, "total_paid"]
        assert np.allclose(paid, new.loc[stayed, "monthly_fee"])
        assert (new.loc[stayed, "monthly_fee"] == old.loc[stayed, "monthly_fee"]).all()


def test_signup_agrees_with_months_active_and_never_moves(played: list[PlayedMonth]) -> None:
    signups = [month.tables["users"].set_index("user_id")["signup_date"] for month in played]
    for before, after in itertools.pairwise(signups):
        both = before.index.intersection(after.index)
        assert (before[both] == after[both]).all()
    for month, signup in zip(played, signups, strict=True):
        close = month.month.first_day
        elapsed = (close.year - signup.dt.year) * 12 + close.month - signup.dt.month
        billed = profile(month)["months_active"]
        assert ((elapsed + 1 == billed) | (elapsed == billed)).all()
        assert (signup <= pd.Timestamp(month.month.as_of_date)).all()
        assert (elapsed + 1 != billed).sum() <= 11  # joined, not billed in their first month


def test_every_table_has_every_user_and_possible_values(played: list[PlayedMonth]) -> None:
    for month, table in itertools.product(played, TABLES):
        frame = month.tables[table.name]
        assert list(frame.columns) == [column.name for column in table.columns]
        assert list(frame["user_id"]) == list(profile(month).index)
        assert all(possible(frame[column.name], column) for column in table.columns)


def test_no_column_is_constant_and_blanks_mean_not_applicable(played: list[PlayedMonth]) -> None:
    for table in PROFILE_TABLES:
        frame = played[0].tables[table.name]
        assert all(len(set(frame[name].dropna())) > 1 for name in frame)
    support = played[0].tables["support_agg_90d"]
    without = support["support_tickets_90d"] == 0
    assert support["ticket_avg_resolution_hrs_90d"].isna().equals(without)


@pytest.mark.parametrize("asked", [{"users": 0}, {"months": 0}, {"seed": -1}, {"base_rate": 1.0}])
def test_impossible_wishes_are_refused(asked: dict[str, int]) -> None:
    with pytest.raises(ChurnError):
        play(first=FIRST, **asked)  # type: ignore[arg-type]
