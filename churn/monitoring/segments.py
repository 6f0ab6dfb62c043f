"""Leavers by segment of the contract: how many the scores expect, and how many left once it is known."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from churn.contract.in_force import CONTRACT, VIEWS
from churn.database import connect
from churn.database.copying import copy_out
from churn.evaluation.segments import levels_of
from churn.months import Month
from churn.scoring.scores import features_of

_SCORES = pa.schema(
    [
        ("user_id", pa.string()),
        ("probability", pa.float64()),
        ("expected_profit", pa.float64()),
        ("is_action", pa.bool_()),
        ("customer_value", pa.float64()),
    ]
)
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SegmentLeavers:
    """One level of one segment among a month's scored users; sums, in users or currency units."""

    segment: str
    level: str
    users: int
    expected_leavers: float  # the sum of the served probabilities
    value_at_risk: float | None  # None: scored before the users' values were kept
    listed: int  # due an action, the control group among them
    expected_profit: float  # of calling all of them
    labelled: int
    observed_leavers: int | None = None  # of the labelled; None: nobody is
    value_lost: float | None = None


def measure_segments(month: Month, labels: pa.Table | None) -> list[SegmentLeavers]:
    """Return the figures of every level of every segment that the month's features know.

    Args:
        month: scored; a month of before the first release has no figures.
        labels: user_id and churn_label, as known when they matured; None before.
    """
    with connect() as connection:
        query = sql.SQL(
            "SELECT user_id, probability, expected_profit, is_action, customer_value"
            " FROM churn_scores WHERE as_of = {}"
        ).format(sql.Literal(month.as_of))
        rows = copy_out(connection, query, _SCORES)
    if rows.num_rows == 0:
        return []
    users = rows["user_id"].combine_chunks()
    sums = _sums(rows, users, labels)
    return [
        figures
        for column in dict.fromkeys(segment.column for segment in CONTRACT.segments)
        for segment, levels in _levels(month, column, users)
        for figures in _by_level(segment, levels, sums)
    ]


def _levels(
    month: Month, column: str, users: pa.Array
) -> Iterator[tuple[str, npt.NDArray[np.str_]]]:
    """Yield the segments of one column, of which a million users take memory enough."""
    parts = [part for view in VIEWS if (part := view.part({column})).features]
    if parts:
        yield from levels_of(features_of(month, parts, users).to_pandas())


def _sums(rows: pa.Table, users: pa.Array, labels: pa.Table | None) -> dict[str, Floats]:
    """Return what is summed of each user, by the fields of SegmentLeavers."""
    probability, value, profit, is_listed = (
        rows[name].to_numpy().astype(np.float64)
        for name in ("probability", "customer_value", "expected_profit", "is_action")
    )
    has_label, left = np.zeros(len(users)), np.zeros(len(users))
    if labels is not None:
        at = pc.index_in(users, value_set=labels["user_id"].combine_chunks())
        known = labels["churn_label"].combine_chunks().take(at)
        has_label = known.is_valid().to_numpy(zero_copy_only=False).astype(np.float64)
        left = pc.fill_null(known, False).to_numpy(zero_copy_only=False).astype(np.float64)
    return {
        "users": np.ones(len(users)),
        "expected_leavers": probability,
        "value_at_risk": probability * value,
        "listed": is_listed,
        "expected_profit": is_listed * profit,
        "labelled": has_label,
        "observed_leavers": left,
        "value_lost": left * value,
    }


def _by_level(
    segment: str, levels: npt.NDArray[np.str_], sums: dict[str, Floats]
) -> Iterator[SegmentLeavers]:
    names, codes = np.unique(levels, return_inverse=True)
    totals = {name: np.bincount(codes, weights=each) for name, each in sums.items()}
    for at, level in enumerate(names):
        of_level = {name: float(total[at]) for name, total in totals.items()}
        is_matured = of_level["labelled"] > 0
        yield SegmentLeavers(
            segment,
            str(level),
            users=int(of_level["users"]),
            expected_leavers=of_level["expected_leavers"],
            value_at_risk=_known(of_level["value_at_risk"]),
            listed=int(of_level["listed"]),
            expected_profit=of_level["expected_profit"],
            labelled=int(of_level["labelled"]),
            observed_leavers=int(of_level["observed_leavers"]) if is_matured else None,
            value_lost=_known(of_level["value_lost"]) if is_matured else None,
        )


def _known(total: float) -> float | None:
    """Return a sum of money; None where the value of one of the users is not known."""
    return None if np.isnan(total) else total
