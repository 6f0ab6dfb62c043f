"""Which months could be judged when: read off the accepted deliveries, never off the clock."""

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import psycopg

from churn.contract.in_force import LABELS, TABLES
from churn.months import Month, months_between
from churn.training.spine import CutOffs

State = Literal["known", "unknown"]


class Arrival(NamedTuple):
    """When a file of a month first became known."""

    month: Month
    file: str
    known_at: dt.datetime


@dataclass(frozen=True)
class Known:
    """What was known of a month at its decision instant, the end of the month after it."""

    month: Month
    state: State
    why: str = ""


def read_arrivals(connection: psycopg.Connection) -> list[Arrival]:
    """Return when each file of each month first became known, in a version that could be used.

    One that could not be loaded is none, nor one that cannot be and that nobody has confirmed: later
    months do not wait for it, and what heals it is known in its place.
    """
    rows = connection.execute(
        "SELECT month, file, min(known_at) FROM raw.deliveries WHERE unloadable IS NULL"
        " AND delivery_id NOT IN (SELECT delivery_id FROM raw.blocked) GROUP BY month, file"
    ).fetchall()
    return [Arrival(Month(month), file, known_at) for month, file, known_at in rows]


def months_known(arrivals: Iterable[Arrival], first: Month) -> Iterator[Known]:
    """Yield every month from the first one delivered to the last one whose labels are here.

    Months before `first` are none of this graph's.

    A month without its labels is past, and not only waiting, once labels of a later month have been
    accepted: what comes after that is late by the rules of deliveries, too.
    """
    by_month: dict[Month, dict[str, dt.datetime]] = {}
    for month, file, known_at in arrivals:
        if month >= first:
            by_month.setdefault(month, {})[file] = known_at
    labelled = [month for month, files in by_month.items() if LABELS.name in files]
    if labelled:
        for month in months_between(min(by_month), max(labelled)):
            yield _known(month, by_month.get(month, {}))


def _known(month: Month, files: dict[str, dt.datetime]) -> Known:
    if not files:
        return Known(month, "unknown", f"the drop of {month} was lost: no file of it is here")
    cut_offs = CutOffs.of(month)
    for table in (LABELS, *(each for each in TABLES if each != LABELS)):
        cut_off = cut_offs.labels if table == LABELS else cut_offs.features
        what = "labels" if table == LABELS else table.name
        found = files.get(table.name)
        if found is None and table.optional:
            continue
        if found is None:
            return Known(month, "unknown", f"{what} of {month} were not known on {cut_off:%F}")
        if found > cut_off:
            return Known(
                month,
                "unknown",
                f"{what} of {month} were not known on {cut_off:%F}: they came on {found:%F}",
            )
    return Known(month, "known")
