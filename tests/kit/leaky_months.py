"""Simulated months as training frames, and three ways to tell a model what nobody could have known."""

import functools
from typing import Any

import numpy as np
import pandas as pd

from churn.contract.in_force import DEFAULT_SERVICE
from churn.contract.structure import Table
from churn.months import Month
from churn.population.simulate import PlayedMonth, play

JANUARY, FEBRUARY = Month.parse("2024-01"), Month.parse("2024-02")


@functools.cache
def played(users: int, months: int, seed: int) -> tuple[PlayedMonth, ...]:
    return tuple(play(first=JANUARY, months=months, users=users, seed=seed))


def frame(month: PlayedMonth) -> pd.DataFrame:
    """The month as a training set would be: one row per user, features of the richer service, label."""
    joined = functools.reduce(lambda a, b: a.merge(b, on="user_id"), month.tables.values())
    return joined.reindex(columns=["user_id", *DEFAULT_SERVICE.feature_names, "churn_label"])


def truth_of(month: PlayedMonth, users: Any) -> np.ndarray:
    return month.oracle.set_index("user_id")["churn_probability"].loc[users].to_numpy(float)


def usage_of_the_month_after(month: PlayedMonth, after: PlayedMonth) -> pd.DataFrame:
    """A post-period column: who has left by then watches nothing."""
    hours = after.tables["usage_agg_30d"].set_index("user_id")["watch_hours_30d"]
    rows = frame(month)
    return rows.assign(watch_hours_30d=rows["user_id"].map(hours))


def label_copied(month: PlayedMonth, wrong: float = 0.1) -> pd.DataFrame:
    """The label in a feature's clothes: failed payments, of one user in ten told wrongly."""
    rows = frame(month)
    flipped = np.random.default_rng(0).random(len(rows)) < wrong
    return rows.assign(failed_payments_90d=(rows["churn_label"].to_numpy(bool) ^ flipped) * 3)


def corrected_by_those_who_left(month: PlayedMonth, table: Table) -> pd.DataFrame:
    """A month's file as corrected later: the last bills of those who have left came back unpaid."""
    rows = month.tables[table.name]
    left = month.tables["labels"]["churn_label"].to_numpy(bool)
    return rows.assign(failed_payments_90d=rows["failed_payments_90d"] + left * 2)
