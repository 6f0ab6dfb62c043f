"""The backtest trains on what came before and on nobody who judges; its rows are kept and shown."""

import dataclasses
import functools

import numpy as np
import pandas as pd
import pytest

from churn.contract.in_force import BASELINE, DEFAULT_SERVICE
from churn.errors import ChurnError
from churn.evaluation.bootstrap import intervals
from churn.model.backtest import (
    ALL_MONTHS,
    METRICS,
    ONE_MONTH,
    BacktestRow,
    backtest,
    backtest_fingerprint,
    backtest_png,
    backtest_table,
    keep_rows,
    kept_rows,
)
from churn.model.candidates import fit_challenger, forest, out_of_fold, tuned
from churn.model.encode import model_frame
from churn.model.kinds import BOOSTING, FOREST, LOGISTIC
from churn.model.rows import is_holdout, user_sample
from churn.model.train import fit_baseline
from churn.model.windows import HeldOut, require_apart, window
from churn.months import Month
from tests.kit.training_sets import JANUARY, put, put_all

FEBRUARY, MARCH, APRIL, MAY = (JANUARY.shift(n) for n in (1, 2, 3, 4))
USERS = 600


@pytest.fixture
def world(settings) -> dict[Month, pd.DataFrame]:
    """January to April, as training sets on disk."""
    return put_all(USERS, 4)


def rows_of(month: Month, **more) -> dict[tuple[str, str], BacktestRow]:
    return {(r.candidate, r.span): r for r in backtest(month, n_estimators=40, **more)}


@functools.cache
def untouched(month: Month) -> tuple[BacktestRow, ...]:
    """The rows of a month of the `world` as it was written, judged once for all who compare with them."""
    return tuple(backtest(month, n_estimators=40))


def untouched_rows_of(month: Month) -> dict[tuple[str, str], BacktestRow]:
    return {(r.candidate, r.span): r for r in untouched(month)}


def test_nothing_is_before_the_first_month(world) -> None:
    assert backtest(JANUARY) == []


def test_a_month_without_training_set_cannot_judge(world) -> None:
    with pytest.raises(ChurnError, match="there is no training set yet"):
        backtest(MAY)


def test_windows_end_before_the_judged_month_and_count_their_rows(world) -> None:
    training = {
        month: int((~is_holdout(f["user_id"].to_numpy())).sum()) for month, f in world.items()
    }
    rows = untouched_rows_of(APRIL)
    assert set(rows) == {("forest", ONE_MONTH), ("logistic", ONE_MONTH), ("logistic", ALL_MONTHS)}
    every = rows["logistic", ALL_MONTHS]
    assert (every.first, every.last, every.months) == (JANUARY, MARCH, 3)
    assert every.training_rows == sum(training[m] for m in (JANUARY, FEBRUARY, MARCH))
    for kind in ("forest", "logistic"):
        one = rows[kind, ONE_MONTH]
        assert (one.first, one.last, one.months) == (MARCH, MARCH, 1)
        assert one.training_rows == training[MARCH]
    held = world[APRIL][is_holdout(world[APRIL]["user_id"].to_numpy())]
    for row in rows.values():
        assert (row.users, row.left) == (len(held), int(held["churn_label"].sum()))
        assert tuple(row.figures) == METRICS
        assert all(f.low <= f.estimate <= f.high for f in row.figures.values())
    assert every.figures["auc"].estimate > 0.7


def test_one_month_is_the_challenger_of_that_month_judged_a_month_later(world) -> None:
    baseline = fit_baseline(world[MARCH], DEFAULT_SERVICE, n_estimators=40)
    challenger = fit_challenger(tuned(LOGISTIC, baseline.data), baseline)
    held_out = world[APRIL][is_holdout(world[APRIL]["user_id"].to_numpy())]
    held_out = held_out.sort_values("user_id")
    raw = LOGISTIC.log_odds(challenger.pipeline, model_frame(held_out, DEFAULT_SERVICE))
    assert challenger.calibration is not None
    probabilities = challenger.calibration.probabilities(raw)
    due = intervals(held_out["churn_label"].to_numpy(np.int64), probabilities, ("auc", "brier"))
    row = untouched_rows_of(APRIL)["logistic", ONE_MONTH]
    assert {name: row.figures[name] for name in due} == due


def test_the_forest_is_the_baseline_calibrated(world) -> None:
    baseline = fit_baseline(world[MARCH], BASELINE, n_estimators=40)
    held_out = world[APRIL][is_holdout(world[APRIL]["user_id"].to_numpy())].sort_values("user_id")
    encoded, labels = model_frame(held_out, BASELINE), held_out["churn_label"].to_numpy(np.int64)
    plain = intervals(labels, baseline.pipeline.predict_proba(encoded)[:, 1])["auc"]
    figures = untouched_rows_of(APRIL)["forest", ONE_MONTH].figures
    assert figures["auc"].estimate == pytest.approx(plain.estimate)
    calibration = fit_challenger(forest(baseline), baseline).calibration
    assert calibration is not None
    probabilities = calibration.probabilities(FOREST.log_odds(baseline.pipeline, encoded))
    assert figures["brier"] == intervals(labels, probabilities, ("brier",))["brier"]


def test_neither_later_months_nor_the_judges_own_pasts_are_trained_on(world) -> None:
    """Poison everything that must not be learned from: not a bit of the figures changes."""
    before = untouched_rows_of(MARCH)
    for month, frame in world.items():
        if month == MARCH:  # judges stay as they are, the others are poisoned
            spoiled = ~is_holdout(frame["user_id"].to_numpy())
        elif month > MARCH:
            spoiled = np.ones(len(frame), dtype=bool)
        else:
            spoiled = is_holdout(frame["user_id"].to_numpy())
        poisoned = frame["churn_label"].astype(bool) ^ spoiled
        put(month, frame.assign(churn_label=poisoned, monthly_fee=frame["monthly_fee"] + spoiled))
    assert rows_of(MARCH) == before


def test_what_may_be_learned_from_is(world) -> None:
    before = untouched_rows_of(MARCH)
    frame = world[JANUARY]
    put(JANUARY, frame.assign(churn_label=~frame["churn_label"].astype(bool)))
    after = rows_of(MARCH)
    assert after["logistic", ALL_MONTHS] != before["logistic", ALL_MONTHS]
    for kind in ("forest", "logistic"):
        assert after[kind, ONE_MONTH] == before[kind, ONE_MONTH]


def test_a_window_that_reaches_the_judged_month_or_its_judges_is_refused(world) -> None:
    held_out = HeldOut.of(MARCH)
    for late in (MARCH, APRIL):
        with pytest.raises(ChurnError, match=f"{late} would be trained on, and 2024-03 is judged"):
            window([JANUARY, late], held_out, DEFAULT_SERVICE)
    rows = window([JANUARY], held_out, DEFAULT_SERVICE)
    mixed = dataclasses.replace(rows, features=pd.concat([rows.features, rows.holdout[:2]]))
    with pytest.raises(ChurnError, match="2 users would be trained on and judge"):
        require_apart(mixed, [JANUARY], MARCH)


def test_the_cap_takes_the_users_of_lowest_hash(world) -> None:
    limit = 500
    rows = window([JANUARY, FEBRUARY, MARCH], HeldOut.of(APRIL), DEFAULT_SERVICE, limit=limit)
    assert len(rows.labels) == limit
    users = np.concatenate([world[m]["user_id"].to_numpy(str) for m in (JANUARY, FEBRUARY, MARCH)])
    users = users[~is_holdout(users)]
    assert sorted(rows.features.index) == sorted(users[user_sample(users, limit)])
    assert rows_of(APRIL, limit=limit)["logistic", ALL_MONTHS].training_rows == limit


def test_a_user_of_several_months_is_judged_by_no_fold_that_knows_them(world) -> None:
    """Labels that are each user's own coin: only who has seen the user can tell."""
    rows = window([JANUARY, FEBRUARY, MARCH], HeldOut.of(APRIL), DEFAULT_SERVICE)
    users = rows.features.index
    coins = dict(zip(sorted(set(users)), np.random.default_rng(0).random(len(users)), strict=False))
    own = np.array([coins[user] for user in users])
    told = dataclasses.replace(
        rows,
        labels=(own < 0.5).astype(np.int64),
        features=rows.features.assign(monthly_fee=np.round(own * 1e6) % 997),
    )
    [raw] = out_of_fold(BOOSTING, told, [{"learning_rate": 0.3, "max_iter": 60, "max_leaf_nodes": 64,
                                            "min_samples_leaf": 1, "max_features": 1.0}])  # fmt: skip
    assert intervals(told.labels, raw)["auc"].low < 0.5


def test_a_hole_stays_a_hole(world) -> None:
    from churn.training.dataset import training_set_path

    training_set_path(FEBRUARY).unlink()
    assert set(rows_of(MARCH)) == {("logistic", ALL_MONTHS)}
    every = rows_of(APRIL)["logistic", ALL_MONTHS]
    assert (every.first, every.last, every.months) == (JANUARY, MARCH, 2)


def test_the_same_months_give_the_same_rows_in_whatever_order_they_lie(world) -> None:
    first = [*untouched(MARCH)]
    for month, frame in world.items():
        put(month, frame[::-1])
    again = backtest(MARCH, n_estimators=40)
    assert again == first
    assert backtest_fingerprint(again) == backtest_fingerprint(first)


def test_rows_are_kept_replaced_and_shown(world) -> None:
    rows_by_month = {month: [*untouched(month)] for month in (MARCH, FEBRUARY)}
    for month in (MARCH, FEBRUARY, MARCH):  # any order, and twice
        keep_rows(month, rows_by_month[month])
    kept = kept_rows(APRIL)
    assert [row.month for row in kept] == [FEBRUARY] * 3 + [MARCH] * 3
    assert {row.model for row in kept[:3]} == {row.model for row in kept[3:]}
    assert kept[3:] == sorted(rows_by_month[MARCH], key=lambda row: row.model)
    assert kept_rows(FEBRUARY) == kept[:3]
    assert kept_rows(JANUARY) == []
    lines = backtest_table(kept).splitlines()
    assert len(lines) == 2 + 6
    assert lines[2].startswith("| 2024-03 | ")
    assert "| 2024-01 to 2024-02 |" in backtest_table(kept)
    assert backtest_png(kept).startswith(b"\x89PNG")
    assert backtest_png(kept) == backtest_png(kept)
    keep_rows(MARCH, [])
    assert kept_rows(APRIL) == kept[:3]
