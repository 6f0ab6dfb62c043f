"""Months of simulated worlds, as monitoring sees them."""

import functools

import numpy as np
import pandas as pd

from churn.evaluation.money import Campaign, within_budget
from churn.monitoring.drift import Drift, Window, compare
from churn.monitoring.false_alarms import FIRST, Model, SeenMonth, play_months
from churn.monitoring.performance import Performance, Scores, measure_performance
from churn.monitoring.thresholds import simulated_thresholds
from churn.months import Month
from churn.population.scenario import Conditions, Scenario
from churn.settings import GateSettings

CAMPAIGN = Campaign()
GATE = GateSettings()


@functools.cache
def world(months: int, users: int, seed: int, **change: float) -> list[SeenMonth]:
    """A world; `change` sets in with its last month."""
    scenario = Scenario({months - 1: Conditions(**change)}) if change else None
    return list(play_months(months, users, seed, scenario))


@functools.cache
def model_of(users: int, seed: int) -> Model:
    """What January's training users make of a model."""
    return Model.fit(world(1, users, seed)[0])


def month(number: int) -> Month:
    return FIRST.shift(number)


def drift_between(played: list[SeenMonth], reference: int, current: int, model: Model) -> Drift:
    def window(number: int) -> Window:
        seen = played[number]
        scores = pd.Series(model.probabilities(seen.frame[seen.held]))
        return Window(month(number), seen.frame.drop(columns="user_id"), scores)

    return compare(window(reference), window(current), simulated_thresholds())


def scores_of(seen: SeenMonth, model: Model) -> Scores:
    probabilities = model.probabilities(seen.frame)
    users = seen.frame["user_id"].to_numpy(dtype=object)
    return Scores(users, probabilities, within_budget(probabilities, CAMPAIGN), seen.labels)


def performance_of(seen: SeenMonth, model: Model) -> list[Performance]:
    return measure_performance(scores_of(seen, model), CAMPAIGN, GATE)


def figure(figures: list[Performance], users: str, metric: str) -> Performance:
    [only] = [each for each in figures if (each.users, each.metric) == (users, metric)]
    return only


def ids(count: int) -> np.ndarray:
    return np.array([f"u{n:05}" for n in range(count)], dtype=object)
