"""Usage, payments and support of a month, simulated for any users, since the benchmark has none.

They depend on the profile (plans, connection, household) and on a lasting taste of each user, never on the
label: given the profile, they say nothing about churn.
"""

import zlib
from typing import Any

import numpy as np
import pandas as pd

from churn.contract.structure import Column, Table

_HOURS_BY_SERVICE = {"DSL": 22.0, "Fiber optic": 25.0, "No": 16.0}
_REBUFFERS_BY_SERVICE = {"DSL": 3.0, "Fiber optic": 1.8, "No": 2.3}
_MOST_HOURS = 700.0
_MOST_SESSION_MINUTES = 600.0
_MOST_RESOLUTION_HOURS = 720.0
# The widest range of a column that is drawn from its bounds alone.
_WIDEST = 100.0


def draw_taste(count: int, rng: np.random.Generator) -> pd.Series:
    """Return how keen each new user is on watching: standard normal, and kept for life."""
    return pd.Series(rng.standard_normal(count), dtype="float64")


def usage(users: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Return the month's usage_agg_30d, one row per user."""
    taste = users["taste"].to_numpy()
    streams = sum(
        users[plan].fillna(False).to_numpy(np.float64)
        for plan in ("plan_stream_tv", "plan_stream_movies")
    )
    usual_hours = users["net_service"].map(_HOURS_BY_SERVICE).to_numpy(np.float64) + 5 * streams
    noise = rng.standard_normal((2, len(users)))
    hours = usual_hours * np.exp(0.25 * taste + 0.2 * noise[0])
    minutes = 28 * np.exp(0.15 * taste + 0.3 * noise[1])
    household = users["has_family"].to_numpy(np.float64) + users["has_dependents"].to_numpy()
    rebuffers = users["net_service"].map(_REBUFFERS_BY_SERVICE).to_numpy(np.float64)
    return pd.DataFrame(
        {
            "user_id": users["user_id"],
            "watch_hours_30d": np.minimum(hours, _MOST_HOURS).round(2),
            "avg_session_mins_7d": np.minimum(minutes, _MOST_SESSION_MINUTES).round(1),
            "unique_devices_30d": 1 + rng.poisson(0.8 + 0.3 * household),
            "skips_7d": rng.poisson(5 * np.exp(0.15 * taste)),
            "rebuffer_events_7d": rng.poisson(rebuffers),
        }
    )


def payments(users: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Return the month's payments_agg_90d, one row per user."""
    rate = 0.13 + 0.05 * users["paperless_billing"].to_numpy(np.float64)
    return pd.DataFrame({"user_id": users["user_id"], "failed_payments_90d": rng.poisson(rate)})


def support(users: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Return the month's support_agg_90d; without tickets, the resolution time is blank."""
    fibre = (users["net_service"] == "Fiber optic").to_numpy(np.float64)
    tickets = rng.poisson(0.25 + 0.12 * fibre)
    hours = np.minimum(rng.gamma(6, 1.7, len(users)), _MOST_RESOLUTION_HOURS).round(1)
    return pd.DataFrame(
        {
            "user_id": users["user_id"],
            "support_tickets_90d": tickets,
            "ticket_avg_resolution_hrs_90d": np.where(tickets > 0, hours, np.nan),
        }
    )


def with_every_column(frame: pd.DataFrame, table: Table, stream: list[int]) -> pd.DataFrame:
    """Return a month's table with the columns that are not simulated otherwise, drawn between their bounds.

    Args:
        frame: the simulated columns, including `user_id`.
        table: the declaration of the table.
        stream: the seed of a stream of random numbers; each column draws from a stream of its own below it,
            so that no column affects another.
    """
    drawn = {
        column.name: _drawn(
            column, len(frame), np.random.default_rng([*stream, _stream_of(column)])
        )
        for column in table.columns
        if column.name not in frame
    }
    return frame.assign(**drawn)[[column.name for column in table.columns]]


def _stream_of(column: Column) -> int:
    return zlib.crc32(column.name.encode())


def _drawn(column: Column, count: int, rng: np.random.Generator) -> Any:
    """Return random values that the contract allows."""
    low = column.minimum or 0.0
    high = low + _WIDEST if column.maximum is None else min(column.maximum, low + _WIDEST)
    if column.kind == "int":
        return rng.integers(int(low), int(high), count, endpoint=True)
    if column.kind == "float":
        return (low + (high - low) * rng.random(count)).round(2)
    if column.kind == "bool":
        return rng.random(count) < 0.5
    if column.kind == "date":
        return np.datetime64("2023-01-01") + rng.integers(0, 365, count).astype("timedelta64[D]")
    return rng.choice(np.array(column.expected or ("A", "B")), count)
