"""Models that are quickly fitted, for worlds in which months, records and decisions are what is looked at.

Forests of 30 trees and one kind of candidate: of a user's 300 and of the choice among all kinds,
tests/model has the tests, and the worlds of tests/whole/e2e are fitted as a user's are.
"""

import functools

import pytest


def fit_small_models(patch: pytest.MonkeyPatch) -> None:
    """Let this process train months by small models."""
    from churn.model import candidates
    from churn.model import train as monthly
    from churn.model.kinds import LOGISTIC
    from churn.model.train import fit_baseline

    patch.setattr(monthly, "fit_baseline", functools.partial(fit_baseline, n_estimators=30))
    patch.setattr(candidates, "KINDS", (LOGISTIC,))
