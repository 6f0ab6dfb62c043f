"""Simulated months written as training sets, for tests of what reads several of them."""

import functools

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from churn.contract.in_force import DEFAULT_SERVICE
from churn.months import Month
from churn.population.simulate import play
from churn.training.dataset import schema, training_set_path

JANUARY = Month.parse("2024-01")


@functools.cache
def frames(users: int, months: int, seed: int = 0) -> dict[Month, pd.DataFrame]:
    """Return months as training sets would hold them."""
    by_month = {}
    for played in play(first=JANUARY, months=months, users=users, seed=seed):
        joined = functools.reduce(lambda a, b: a.merge(b, on="user_id"), played.tables.values())
        rows = joined.reindex(columns=["user_id", *DEFAULT_SERVICE.feature_names, "churn_label"])
        by_month[played.month] = rows.assign(as_of=played.month.as_of).sort_values("user_id")
    return by_month


def put(month: Month, frame: pd.DataFrame) -> None:
    """Write a month's training set where it is looked for."""
    path = training_set_path(month)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pandas(frame, schema=schema(), preserve_index=False), path)


def put_all(users: int, months: int) -> dict[Month, pd.DataFrame]:
    drawn = frames(users, months)
    for month, frame in drawn.items():
        put(month, frame)
    return drawn
