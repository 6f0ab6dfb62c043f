from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from churn.errors import ChurnError
from churn.months import Month
from churn.population.drops import write_drops
from churn.population.scenario import Scenario, Treated
from churn.population.simulate import PlayedMonth, play, true_effect

FIRST = Month.parse("2024-01")


def run(scenario: Scenario | None = None) -> list[PlayedMonth]:
    return list(play(first=FIRST, months=4, users=1500, seed=7, scenario=scenario))


def some_users(month: PlayedMonth) -> frozenset[str]:
    return frozenset(month.oracle.nlargest(300, "churn_probability")["user_id"])


def same(one: PlayedMonth, other: PlayedMonth) -> bool:
    tables = all(one.tables[name].equals(other.tables[name]) for name in one.tables)
    return tables and one.oracle.equals(other.oracle)


def test_a_treatment_changes_who_leaves_and_nothing_before_that() -> None:
    plain = run()
    called = Treated(some_users(plain[2]), -1.0)
    treated = run(Scenario(treated={2: called}))
    assert same(plain[0], treated[0])
    assert same(plain[1], treated[1])
    for name, table in plain[2].tables.items():
        assert table.equals(treated[2].tables[name]) == (name != "labels")
    was, now = plain[2].oracle, treated[2].oracle
    assert now["untreated_probability"].equals(was["churn_probability"])
    chosen = now["user_id"].isin(called.user_ids)
    assert (now["churn_probability"][~chosen] == was["churn_probability"][~chosen]).all()
    assert (now["churn_label"][~chosen] == was["churn_label"][~chosen]).all()
    kept = was["churn_label"] & ~now["churn_label"]
    assert kept.sum() > 20
    assert not (
        now["churn_label"] & ~was["churn_label"]
    ).any()  # it keeps users, and drives none away
    ids = set(now["user_id"][kept])
    assert ids <= set(treated[3].tables["users"]["user_id"])  # whom it kept is still there
    assert not ids & set(plain[3].tables["users"]["user_id"])


def test_the_effect_is_on_the_log_odds_and_the_oracle_knows_it() -> None:
    called = Treated(some_users(run()[2]), -0.7)
    oracle = run(Scenario(treated={2: called}))[2].oracle
    told = oracle[oracle["user_id"].isin(called.user_ids)]
    before, after = told["untreated_probability"], told["churn_probability"]
    moved = np.log(after / (1 - after)) - np.log(before / (1 - before))
    assert moved.to_numpy() == pytest.approx(-0.7, abs=1e-3)
    assert true_effect(oracle, called) == pytest.approx((before - after).mean())
    assert true_effect(oracle, called) > 0.05


def test_no_effect_changes_no_label() -> None:
    plain = run()
    nothing = Treated(some_users(plain[2]), 0.0)
    treated = run(Scenario(treated={2: nothing}))
    assert all(
        a.tables["labels"].equals(b.tables["labels"]) for a, b in zip(plain, treated, strict=True)
    )
    assert true_effect(treated[2].oracle, nothing) == 0


def test_who_is_no_member_cannot_be_treated() -> None:
    with pytest.raises(ChurnError, match="2 of the treated users are no members"):
        run(Scenario(treated={1: Treated(frozenset({"7590-VHVEG", "x", "y"}), -1.0)}))
    with pytest.raises(ChurnError, match="month number 0"):
        Scenario(treated={0: Treated(frozenset(), -1.0)})


def test_the_written_oracle_tells_both_probabilities(tmp_path: Path) -> None:
    called = Treated(frozenset({"7590-VHVEG"}), -1.0)
    write_drops(tmp_path, first=FIRST, users=50, months=3, scenario=Scenario(treated={1: called}))
    columns = [list(pd.read_parquet(path)) for path in sorted((tmp_path / "oracle").iterdir())]
    assert ["untreated_probability" in names for names in columns] == [False, True, False]
