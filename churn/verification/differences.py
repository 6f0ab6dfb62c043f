"""Comparing two tables of the same users value by value, with the differences as text."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

# By user_id, and then by column.
Rows = Mapping[str, Mapping[str, Any]]

_SHOWN = 10


@dataclass
class Differences:
    """The result of comparing two tables: counts, and the first few differences as text."""

    users: int = 0
    values: int = 0
    mismatches: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def none(self) -> bool:
        """Whether something was compared, and all of it was equal."""
        return self.values > 0 and self.mismatches == 0

    def add(self, words: str) -> None:
        """Count one mismatch, and keep its text if it is among the first few."""
        self.mismatches += 1
        if len(self.examples) < _SHOWN:
            self.examples.append(words)


def compare(
    expected: Rows, actual: Rows, columns: Iterable[str], sides: tuple[str, str]
) -> Differences:
    """Compare every column of every expected user.

    Args:
        expected: the users that must be there, and their values.
        actual: the rows that are there; additional users are not a difference.
        columns: the columns to compare; one that a row lacks is a difference.
        sides: the names of the two tables, such as ("offline", "online").
    """
    result, names = Differences(), list(columns)
    for user_id, row in expected.items():
        result.users += 1
        other = actual.get(user_id)
        if other is None:
            result.add(f"{user_id}: no row {sides[1]}")
            continue
        for name in names:
            result.values += 1
            if name not in row or name not in other or row[name] != other[name]:
                there, here = row.get(name, "missing"), other.get(name, "missing")
                result.add(f"{user_id}: {name} is {there} {sides[0]}, {here} {sides[1]}")
    return result
