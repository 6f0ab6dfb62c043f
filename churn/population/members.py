"""Who subscribes: the first month's users at any size, the joiners of later months, and their ids.

Ids have the benchmark's format (`1234-ABCDE`); they depend on the seed, and none is issued twice.
"""

import numpy as np
import pandas as pd
import pyarrow as pa

from churn.arrays import Ints
from churn.months import Month
from churn.population.activity import draw_taste
from churn.population.base import WORKED_EXAMPLE
from churn.population.process import ChurnProcess
from churn.population.scenario import Conditions

_LETTERS = 26 ** np.arange(4, -1, -1, dtype=np.int64)
_DIGITS = 10 ** np.arange(3, -1, -1, dtype=np.int64)
_SUFFIXES = 26**5
_SPACE = 10**4 * _SUFFIXES
_LENGTH = 10


class UserIds:
    """Every id ever issued, as numbers; leavers' ids are not used again."""

    def __init__(self, taken: pd.Series) -> None:
        self._given = np.sort(_encode(taken))

    def issue(self, count: int, rng: np.random.Generator) -> pd.Series:
        """Return `count` ids that nobody had before."""
        fresh = np.empty(0, dtype=np.int64)
        while len(fresh) < count:
            drawn = rng.integers(0, _SPACE, count - len(fresh))
            drawn = drawn[~np.isin(drawn, self._given) & ~np.isin(drawn, fresh)]
            _, where = np.unique(drawn, return_index=True)
            fresh = np.concatenate([fresh, drawn[np.sort(where)]])
        self._given = np.sort(np.concatenate([self._given, fresh]))
        return _decode(fresh)


def _encode(user_ids: pd.Series) -> Ints:
    letters = user_ids.to_numpy(dtype=f"S{_LENGTH}").view(np.uint8).reshape(-1, _LENGTH)
    digits = (letters[:, :4].astype(np.int64) - ord("0")) @ _DIGITS
    suffix = (letters[:, 5:].astype(np.int64) - ord("A")) @ _LETTERS
    return np.asarray(digits * _SUFFIXES + suffix, dtype=np.int64)


def _decode(numbers: Ints) -> pd.Series:
    text = np.empty((len(numbers), _LENGTH), dtype=np.uint8)
    text[:, :4] = (numbers // _SUFFIXES)[:, None] // _DIGITS % 10 + ord("0")
    text[:, 4] = ord("-")
    text[:, 5:] = (numbers % _SUFFIXES)[:, None] // _LETTERS % 26 + ord("A")
    offsets = np.arange(0, text.size + 1, _LENGTH, dtype=np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(text)]
    strings = pa.StringArray.from_buffers(len(numbers), buffers[1], buffers[2])
    return pd.Series(pd.array(strings, dtype="string[pyarrow]"))


# The benchmark's longest subscription, in months.
_LONGEST = 72
_FIRST_YEAR = 12


def first_members(
    base: pd.DataFrame,
    users: int,
    first: Month,
    *,
    process: ChurnProcess,
    ids: UserIds,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Return `users` members of the first month, the worked example always among them.

    If they are fewer than the benchmark's users, they are a sample of them. If they are more, variants of the
    benchmark's users are added, whose labels are drawn: a copied label would leak from training users to
    held-out ones.
    """
    if users <= len(base):
        others = np.flatnonzero((base["user_id"] != WORKED_EXAMPLE).to_numpy())
        chosen = rng.choice(others, users - 1, replace=False)
        example = np.flatnonzero((base["user_id"] == WORKED_EXAMPLE).to_numpy())
        members = base.iloc[np.sort(np.concatenate([example, chosen]))].reset_index(drop=True)
    else:
        extra = _variants(base, users - len(base), ids, rng)
        months = extra["months_active"].to_numpy()
        moved = np.clip(months + rng.integers(-2, 3, len(extra)), np.minimum(months, 1), _LONGEST)
        moved[months == 0] = 0
        paid = extra["paid_cents"].to_numpy() * moved // np.maximum(months, 1)
        extra = extra.assign(months_active=moved, paid_cents=paid)
        chance = process.probabilities(extra, Conditions())
        extra["churn_label"] = rng.random(len(extra)) < chance
        members = pd.concat([base, extra], ignore_index=True)
    return _enter(members, first, rng)


def joiners(
    base: pd.DataFrame, count: int, month: Month, *, ids: UserIds, rng: np.random.Generator
) -> pd.DataFrame:
    """Return `count` users who joined in `month`, variants of the benchmark's first-year users."""
    pool = base[base["months_active"] <= _FIRST_YEAR]
    new = _variants(pool, count, ids, rng)
    return _enter(new.assign(months_active=1, paid_cents=new["fee_cents"]), month, rng)


def _variants(
    base: pd.DataFrame, count: int, ids: UserIds, rng: np.random.Generator
) -> pd.DataFrame:
    chosen = base.iloc[rng.integers(0, len(base), count)].reset_index(drop=True)
    fee = chosen["fee_cents"] + 5 * rng.integers(-20, 21, count)
    return chosen.assign(user_id=ids.issue(count, rng), fee_cents=fee)


def _enter(members: pd.DataFrame, month: Month, rng: np.random.Generator) -> pd.DataFrame:
    """Give each member a taste, and a sign-up date in the first month that they were billed for."""
    billed_before = np.maximum(members["months_active"].to_numpy() - 1, 0)
    signup_month = np.datetime64(month.first_day, "M") - billed_before
    days = rng.integers(0, 28, len(members))
    signup = signup_month.astype("datetime64[D]") + days
    return members.assign(
        signup_date=signup.astype("datetime64[s]"), taste=draw_taste(len(members), rng)
    )
