"""Generated users with their features and labels as one table, and models fitted on them."""

import numpy as np
import pandas as pd

from churn.contract.in_force import DEFAULT_SERVICE, PROFILE_TABLES
from churn.contract.structure import Service
from churn.errors import ChurnError
from churn.model.arrays import Calibration
from churn.model.candidates import Candidate, fit_candidate
from churn.model.fitted import Fitted
from churn.model.kinds import Kind
from churn.model.rows import FEW_ROWS, Rows
from churn.months import Month
from churn.population.simulate import play

FIRST = Month.parse("2024-01")


def labelled_users(users: int, seed: int) -> pd.DataFrame:
    """Return one month of users: user_id, churn_label and every feature."""
    [month] = play(first=FIRST, months=1, users=users, seed=seed)
    labels = month.tables["labels"]
    columns = {name: labels[name] for name in ("user_id", "churn_label")}
    for table in PROFILE_TABLES:
        frame = month.tables[table.name]
        if not np.array_equal(frame["user_id"], labels["user_id"]):
            raise ChurnError("is not of the labels' users", where=table.name)
        columns |= {name: frame[name] for name in frame.columns}
    return pd.DataFrame(columns)[["user_id", "churn_label", *DEFAULT_SERVICE.feature_names]]


def fit_uncalibrated(kind: Kind, rows: Rows, service: Service = DEFAULT_SERVICE) -> Fitted:
    """Fit a challenger with the larger parameters of its grid; its probabilities are scikit-learn's own."""
    as_it_is = Calibration(1.0, 0.0)
    largest = kind.grid(FEW_ROWS + 1)[-1]
    chosen = Candidate(kind, service, largest, as_it_is, 0.0, 0.0, 0.0, 0.0)
    return fit_candidate(chosen, rows)
