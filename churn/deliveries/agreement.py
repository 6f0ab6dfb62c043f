"""How the files of one drop agree with each other: every user of every file is in users.csv."""

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from churn.contract.tables import BY_NAME, USERS
from churn.deliveries.problems import Problem, cells
from churn.deliveries.reading import Reading

_WHAT = "is not a user of this month's users.csv"
_REMEDY = "add the user there, or remove the row here"


def disagreements(readings: Mapping[str, Reading], users: pa.Array | None = None) -> list[Problem]:
    """Return the users of any file whom users.csv does not know.

    Args:
        readings: table name to what was read of it; files that could not be read are passed over.
        users: the users known from accepted deliveries, where the drop has no users.csv of its own.
    """
    if USERS.name in readings:
        rows = readings[USERS.name].rows
        users = None if rows is None else rows["user_id"]
    if users is None:
        return []
    problems: list[Problem] = []
    for name, reading in readings.items():
        if name == USERS.name or reading.rows is None:
            continue
        strangers = _strangers(reading.rows["user_id"], users)
        if strangers:
            lines = reading.line_numbers()
            ids = reading.rows["user_id"]
            shown = ((lines[row], ids[row].as_py()) for row in strangers)
            template = Problem(BY_NAME[name].file, _WHAT, _REMEDY, column="user_id")
            problems += cells(template, shown, len(strangers))
    return problems


def absent(ids: pa.ChunkedArray, users: pa.ChunkedArray) -> int:
    """Return how many of the `users` are not among the `ids`."""
    return len(_strangers(users, ids))


def _strangers(ids: pa.ChunkedArray, users: pa.ChunkedArray) -> list[int]:
    known = pc.is_in(ids, value_set=users)
    found = pc.indices_nonzero(pc.and_(pc.invert(known), pc.is_valid(ids)))
    return list(found.to_pylist())
