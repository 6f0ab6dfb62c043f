"""The population played forward: tenure advances, churners leave, and as many joiners replace them."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from churn.arrays import Bools, Floats, Ints
from churn.errors import ChurnError
from churn.months import Month
from churn.population.activity import payments, support, usage, with_every_column
from churn.population.base import SIZE, TABLES, WORKED_EXAMPLE, load_base
from churn.population.members import UserIds, first_members, joiners
from churn.population.process import DEFAULT_BASE_RATE, ChurnProcess, treat
from churn.population.scenario import Conditions, Scenario, Treated

# Each has its own stream of random numbers in each month.
_ENTRY, _ACTIVITY, _LEAVING = range(3)


@dataclass(frozen=True)
class PlayedMonth:
    """One month of the population: its tables by name, and the truth behind the labels.

    The columns of `oracle` are user_id, churn_probability and churn_label; where users were treated, also
    untreated_probability.
    """

    month: Month
    tables: dict[str, pd.DataFrame]
    oracle: pd.DataFrame


def play(
    *,
    first: Month,
    months: int = 12,
    users: int = SIZE,
    seed: int = 42,
    base_rate: float = DEFAULT_BASE_RATE,
    scenario: Scenario | None = None,
) -> Iterator[PlayedMonth]:
    """Yield the months in order; only one is in memory at a time.

    A month depends only on those before it, so a longer run begins with the same months as a shorter one.
    month_000 keeps the benchmark's own labels; its probabilities are those of the fitted process.

    Args:
        first: the first month, `month_000`.
        months: how many.
        users: in the first month.
        seed: of all random numbers.
        base_rate: the churn rate that the process is set to, between 0 and 1.
        scenario: what changes along the way.

    Raises:
        ChurnError: an argument is out of range.
    """
    for name, value, least in (("users", users, 1), ("months", months, 1), ("seed", seed, 0)):
        if value < least:
            raise ChurnError(f"{name} is {value}", remedy=f"give at least {least}")
    base, process = _origin(base_rate)
    return _forward(base, process, first, months, users, seed, scenario or Scenario())


@functools.lru_cache(maxsize=8)
def _origin(base_rate: float) -> tuple[pd.DataFrame, ChurnProcess]:
    """Return the benchmark and the process fitted to it, both cached: nobody may write to either."""
    base = load_base()
    return base, ChurnProcess.fit(base, base_rate)


def _forward(
    base: pd.DataFrame,
    process: ChurnProcess,
    first: Month,
    months: int,
    users: int,
    seed: int,
    scenario: Scenario,
) -> Iterator[PlayedMonth]:
    ids = UserIds(base["user_id"])
    members, left = pd.DataFrame(), np.empty(0, dtype=bool)
    for number in range(months):
        month, now = first.shift(number), scenario.at(number)
        entry = np.random.default_rng([seed, number, _ENTRY])
        if number == 0:
            members = first_members(base, users, month, process=process, ids=ids, rng=entry)
        else:
            new = joiners(base, int(left.sum()), month, ids=ids, rng=entry)
            members = _advance(members[~left], now, new)
        billed = members.assign(fee_cents=_fees(members, now))
        chance = process.probabilities(billed, now)
        untreated = None
        if number > 0:
            chance[(members["user_id"] == WORKED_EXAMPLE).to_numpy(bool)] = 0
            if number in scenario.treated:
                untreated = chance
                chance = treat(chance, members["user_id"], scenario.treated[number])
            leaving = np.random.default_rng([seed, number, _LEAVING])
            members["churn_label"] = leaving.random(len(members)) < chance
        left = members["churn_label"].to_numpy(bool)
        activity = np.random.default_rng([seed, number, _ACTIVITY])
        played = _tables(billed, left, activity)
        tables = {
            name: with_every_column(played.get(name, members[["user_id"]]), table, [seed, number])
            for name, table in TABLES.items()
        }
        yield PlayedMonth(month, tables, _oracle(members, chance, untreated))


def _advance(stayers: pd.DataFrame, now: Conditions, new: pd.DataFrame) -> pd.DataFrame:
    """Bill the stayers for one more month, and the joiners for their first one, at the prices in force."""
    paid = stayers["paid_cents"] + _fees(stayers, now)
    stayers = stayers.assign(months_active=stayers["months_active"] + 1, paid_cents=paid)
    return pd.concat([stayers, new.assign(paid_cents=_fees(new, now))], ignore_index=True)


def _fees(members: pd.DataFrame, now: Conditions) -> Ints:
    """Return the month's fees in cents; the worked example keeps the fee of month_000."""
    fees = members["fee_cents"].to_numpy()
    moved = np.rint(fees * now.fee_factor).astype(np.int64)
    kept = (members["user_id"] == WORKED_EXAMPLE).to_numpy(bool)
    return np.where(kept, fees, moved)


def _tables(
    members: pd.DataFrame, left: Bools, rng: np.random.Generator
) -> dict[str, pd.DataFrame]:
    profile = members.assign(
        monthly_fee=members["fee_cents"] / 100, total_paid=members["paid_cents"] / 100
    )
    return {
        "users": profile,
        "subscriptions": profile,
        "usage_agg_30d": usage(members, rng),
        "payments_agg_90d": payments(members, rng),
        "support_agg_90d": support(members, rng),
        "labels": pd.DataFrame({"user_id": members["user_id"], "churn_label": left}),
    }


def _oracle(
    members: pd.DataFrame,
    chance: Floats,
    untreated: Floats | None,
) -> pd.DataFrame:
    oracle = members[["user_id"]].assign(
        churn_probability=chance, churn_label=members["churn_label"].to_numpy(bool)
    )
    return oracle if untreated is None else oracle.assign(untreated_probability=untreated)


def true_effect(oracle: pd.DataFrame, treated: Treated) -> float:
    """Return by how much the treatment lowered the treated users' mean probability of leaving.

    It is the truth that tests hold the measured uplift against.
    """
    rows = oracle[oracle["user_id"].isin(treated.user_ids)]
    return float((rows["untreated_probability"] - rows["churn_probability"]).mean())
