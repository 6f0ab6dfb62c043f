"""What reading a file gives: typed rows, what could not be read, and where each row stands."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from churn.contract.tables import Kind, Table
from churn.deliveries.lines import line_numbers
from churn.deliveries.problems import Problem

ARROW_TYPES: dict[Kind, pa.DataType] = {
    "string": pa.string(),
    "date": pa.date32(),
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
}


@dataclass(frozen=True)
class Reading:
    """A file as it was read.

    Args:
        file: its name in the drop.
        data: the file's bytes.
        rows: its typed rows; None where no row could be told. Where `problems` are given, unreadable
            cells are null here and rows with a wrong number of values are left out.
        problems: what could not be read.
        lines: the line of each row in the file, where reading had to tell.
        unreadable: per column the rows (counted from 0) whose cell could not be read.
    """

    file: str
    data: bytes
    rows: pa.Table | None
    problems: tuple[Problem, ...] = ()
    lines: Sequence[int] | None = None
    unreadable: Mapping[str, Collection[int]] = field(default_factory=dict)

    def line_numbers(self) -> Sequence[int]:
        """Return the line of each row as an editor numbers it (costs a second read)."""
        return self.lines if self.lines is not None else line_numbers(self.data)


def arrow_schema(table: Table) -> pa.Schema:
    """Return the types of the file's rows, in the contract's order."""
    return pa.schema([(column.name, ARROW_TYPES[column.kind]) for column in table.columns])
