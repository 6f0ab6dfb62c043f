"""Usage, payments and support of a month, made for any users: the benchmark has none.

They follow the profile (plans, connection, household) and a lasting taste of each user, never the
label: given the profile they say nothing about churn.
"""

import numpy as np
import pandas as pd

_HOURS_BY_SERVICE = {"DSL": 22.0, "Fiber optic": 25.0, "No": 16.0}
_REBUFFERS_BY_SERVICE = {"DSL": 3.0, "Fiber optic": 1.8, "No": 2.3}
_MOST_HOURS = 700.0
_MOST_SESSION_MINUTES = 600.0
_MOST_RESOLUTION_HOURS = 720.0


def draw_taste(count: int, rng: np.random.Generator) -> pd.Series:
    """Return how keen each new user is: standard normal, kept for life."""
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
    """Return the month's support_agg_90d; no tickets, no (blank) resolution time."""
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
