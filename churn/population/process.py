"""The process that churn is drawn from: a logistic regression on the benchmark."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from churn.arrays import Floats
from churn.errors import ChurnError
from churn.population.scenario import Conditions, Treated

# The benchmark's own rate, 1,869 of 7,043. No real operator has such a monthly rate, but the labels of
# month_000 are given, and any other rate would silently change the label process after them. It also gives
# each month of 7,043 users some 1,900 leavers, which is enough to judge a model by.
DEFAULT_BASE_RATE = 0.265

_FLAGS = (
    "user_is_senior",
    "has_family",
    "has_dependents",
    "paperless_billing",
    "plan_stream_tv",
    "plan_stream_movies",
    "add_on_security",
    "add_on_backup",
    "add_on_device_protect",
    "add_on_support",
)
_LEVELS = (
    ("net_service", "Fiber optic"),
    ("net_service", "No"),
    ("contract_type", "One year"),
    ("contract_type", "Two year"),
)


@dataclass(frozen=True)
class ChurnProcess:
    """Log odds of leaving within the next month, linear in the profile; the same in every month."""

    coefficients: Floats
    intercept: float

    @classmethod
    def fit(cls, base: pd.DataFrame, base_rate: float = DEFAULT_BASE_RATE) -> "ChurnProcess":
        """Fit to the benchmark's labels, then move the intercept to `base_rate` on its users."""
        from sklearn.linear_model import LogisticRegression

        if not 0 < base_rate < 1:
            raise ChurnError(f"base rate {base_rate} is not between 0 and 1")
        fitted = LogisticRegression(max_iter=2000).fit(_design(base), base["churn_label"])
        coefficients = np.asarray(fitted.coef_[0], dtype=np.float64)
        log_odds = _design(base) @ coefficients
        return cls(coefficients, _shift_to(log_odds, base_rate))

    def probabilities(self, users: pd.DataFrame, now: Conditions) -> Floats:
        """Return each user's true probability of leaving; 6 decimals, so that every machine has the same."""
        log_odds = _design(users) @ self.coefficients + self.intercept
        if now.label_slope != 1:
            rate = float(_sigmoid(log_odds).mean())
            log_odds = log_odds * now.label_slope
            log_odds += _shift_to(log_odds, rate)
        return np.round(_sigmoid(log_odds + now.label_shift), 6)


def treat(chance: Floats, user_ids: pd.Series, treated: Treated) -> Floats:
    """Return the probabilities of leaving with the treatment, unchanged for everybody not treated.

    Raises:
        ChurnError: treated users are not members of the month.
    """
    chosen = user_ids.isin(treated.user_ids).to_numpy(bool)
    strangers = len(treated.user_ids) - int(chosen.sum())
    if strangers:
        raise ChurnError(f"{strangers} of the treated users are no members of the month")
    leaves, factor = chance[chosen], np.exp(treated.log_odds)
    after = chance.copy()
    after[chosen] = np.round(leaves * factor / (1 - leaves + leaves * factor), 6)
    return after


def _design(users: pd.DataFrame) -> Floats:
    months = users["months_active"].to_numpy(np.float64)
    columns = [np.log1p(months), months / 12, users["fee_cents"].to_numpy(np.float64) / 1000]
    columns += [(users[name] == level).to_numpy(np.float64) for name, level in _LEVELS]
    columns += [users[name].fillna(False).to_numpy(np.float64) for name in _FLAGS]
    return np.column_stack(columns)


def _sigmoid(log_odds: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-log_odds)), dtype=np.float64)


def _shift_to(log_odds: Floats, rate: float) -> float:
    """Return what to add to the log odds so that their mean probability is `rate` (bisection)."""
    low, high = -40.0, 40.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if _sigmoid(log_odds + middle).mean() < rate else (low, middle)
    return round((low + high) / 2, 9)
