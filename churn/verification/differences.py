"""Two tables of the same users, value by value: how they differ, in words."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Rows = Mapping[str, Mapping[str, Any]]  # user_id -> column -> value

_SHOWN = 10


@dataclass
class Differences:
    """What one look at two tables found."""

    users: int = 0
    values: int = 0
    mismatches: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def none(self) -> bool:
        """Something was compared, and all of it was equal."""
        return self.values > 0 and self.mismatches == 0

    def add(self, words: str) -> None:
        """Count one mismatch; the first few are kept in words."""
        self.mismatches += 1
        if len(self.examples) < _SHOWN:
            self.examples.append(words)


def compare(
    expected: Rows, found: Rows, columns: Iterable[str], sides: tuple[str, str]
) -> Differences:
    """Compare every column of every expected user.

    Args:
        expected: the users that must be there, and their values.
        found: what is there; more users are no difference.
        columns: what to compare; a column that a row lacks is a difference.
        sides: what to call the two, as in ("offline", "online").
    """
    result, names = Differences(), list(columns)
    for user_id, row in expected.items():
        result.users += 1
        other = found.get(user_id)
        if other is None:
            result.add(f"{user_id}: no row {sides[1]}")
            continue
        for name in names:
            result.values += 1
            if name not in row or name not in other or row[name] != other[name]:
                there, here = row.get(name, "missing"), other.get(name, "missing")
                result.add(f"{user_id}: {name} is {there} {sides[0]}, {here} {sides[1]}")
    return result
