"""Which months could be judged at which instant: told by the accepted deliveries, never by the clock."""

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
    """Whether a month was known at its decision instant, the end of the month after it; if not, why."""

    month: Month
    state: State
    why: str = ""


def read_arrivals(connection: psycopg.Connection) -> list[Arrival]:
    """Return when each file of each month first became known, in a version that could be used.

    A version that could not be loaded does not count, nor one that is implausible and that nobody has
    confirmed. Later months do not wait for it, and the version that replaces it counts in its place.
    """
    rows = connection.execute(
        "SELECT month, file, min(known_at) FROM raw.deliveries WHERE unloadable IS NULL"
        " AND delivery_id NOT IN (SELECT delivery_id FROM raw.blocked) GROUP BY month, file"
    ).fetchall()
    return [Arrival(Month(month), file, known_at) for month, file, known_at in rows]


def months_known(arrivals: Iterable[Arrival], first: Month) -> Iterator[Known]:
    """Yield every month from the first one delivered to the last one whose labels have arrived.

    Once labels of a later month have been accepted, a month without labels is no longer waiting but past:
    by the rules of deliveries, too, whatever comes for it now is late.

    Args:
        arrivals: when each file became known.
        first: the first month of the graph; earlier ones are left out.
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
        known_at = files.get(table.name)
        if known_at is None and table.optional:
            continue
        if known_at is None:
            return Known(month, "unknown", f"{what} of {month} were not known on {cut_off:%F}")
        if known_at > cut_off:
            return Known(
                month,
                "unknown",
                f"{what} of {month} were not known on {cut_off:%F}: they came on {known_at:%F}",
            )
    return Known(month, "known")
