"""How the files of one drop agree with each other: every user of every file is in users.csv."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from churn.contract.tables import USERS, Table
from churn.deliveries.problems import SHOWN_PER_KIND, Problem, cells
from churn.deliveries.reading import Reading
from churn.row_order import ByUser

_WHAT = f"is not a user of this month's {USERS.shown_file}"
_REMEDY = "add the user there, or remove the row here"


@dataclass(frozen=True)
class Users:
    """The users that a month's files are held against.

    Args:
        ids: their user_ids; sorted where they come from one file.
        file: their rows, where they come from one file.
    """

    ids: pa.ChunkedArray
    file: ByUser | None = None

    @classmethod
    def of(cls, users: ByUser) -> "Users":
        """Return the users of one users.csv."""
        return cls(users.ids, users)

    def are_those_of(self, file: ByUser | None) -> bool:
        """Return whether the file has exactly these users: the usual case, and a quick look."""
        return file is not None and bool(file.ids.equals(self.ids))


def strangers(reading: Reading, table: Table, users: Users) -> list[Problem]:
    """Return the users of a file whom users.csv does not know."""
    if reading.rows is None or users.are_those_of(reading.by_user):
        return []
    ids = reading.rows["user_id"]
    rows = missing(ids, users.ids)
    shown = rows[:SHOWN_PER_KIND].to_pylist()
    lines = reading.line_numbers(shown)
    template = Problem(table.file, _WHAT, _REMEDY, column="user_id")
    return cells(template, ((lines[row], ids[row].as_py()) for row in shown), len(rows))


def missing(ids: pa.ChunkedArray, users: pa.ChunkedArray) -> pa.Array:
    """Return where the `ids` stand, nulls aside, that are not among the `users`."""
    known = pc.is_in(ids, value_set=users)
    return pc.indices_nonzero(pc.and_(pc.invert(known), pc.is_valid(ids)))
