"""Months of the public population as the rules see them: Arrow tables, without a database."""

from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from churn.contract.in_force import LABELS, PROFILE_TABLES, TABLES, USERS
from churn.deliveries.files import plain_schema
from churn.months import Month
from churn.plausibility.rules import (
    Finding,
    Leavers,
    ProfileMonth,
    compare,
    labels_agree,
    labels_cover,
    leavers_share,
)
from churn.population.simulate import PlayedMonth, play

FIRST = Month.parse("2024-01")
Files = dict[str, pa.Table]
World = list[tuple[Month, Files]]


def played(months: int, users: int, seed: int, **more: object) -> World:
    """Play a population; the tables of each month by file."""
    return [
        (month.month, files(month))
        for month in play(first=FIRST, months=months, users=users, seed=seed, **more)  # type: ignore[arg-type]
    ]


def files(month: PlayedMonth) -> Files:
    return {
        table.name: pa.Table.from_pandas(
            month.tables[table.name], plain_schema(table), preserve_index=False
        )
        for table in TABLES
    }


def part(world: World, share: float, seed: int) -> World:
    """Return the same months of a share of all users, at least of 60 in the first month."""
    every = pa.concat_arrays(
        [own[USERS.name]["user_id"].combine_chunks() for _, own in world]
    ).unique()
    order = np.random.default_rng(seed).random(len(every))
    first = pc.is_in(every, value_set=world[0][1][USERS.name]["user_id"].combine_chunks())
    least = np.sort(order[first.to_numpy(zero_copy_only=False)])[59]
    kept = every.filter(pa.array(order <= max(share, least)))
    return [
        (
            month,
            {
                name: rows.filter(pc.is_in(rows["user_id"], value_set=kept))
                for name, rows in own.items()
            },
        )
        for month, own in world
    ]


def beside(earlier: tuple[Month, Files], later: tuple[Month, Files]) -> list[Finding]:
    """Return everything that the profile rules find about the later month."""
    return [
        finding
        for table in PROFILE_TABLES
        for finding in compare(
            table,
            ProfileMonth(later[0], later[1][table.name]),
            ProfileMonth(earlier[0], earlier[1][table.name]),
        )
    ]


def of_labels(world: World) -> Iterator[Finding]:
    """Yield everything that the rules find about the labels of a world's months but the last."""
    earlier: list[Leavers] = []
    for (month, own), (following, after) in pairwise(world):
        labels, users = own[LABELS.name], own[USERS.name]["user_id"]
        now = leavers(month, labels)
        yield from labels_cover(month, labels, users)
        yield from leavers_share(now, earlier[-3:])
        if following == month.next:
            yield from labels_agree(month, labels, users, after[USERS.name]["user_id"])
        earlier.append(now)


def leavers(month: Month, labels: pa.Table) -> Leavers:
    return Leavers(month, pc.sum(labels["churn_label"]).as_py() or 0, labels.num_rows)


def rules(findings: Iterable[Finding]) -> set[str]:
    return {finding.rule for finding in findings if finding.is_impossible}
