"""What is wrong with a drop (problems, which refuse it) and what is odd about it (warnings, with counts)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from churn.errors import ChurnError

SHOWN_PER_KIND = 5
SHOWN = 20


@dataclass(frozen=True)
class Problem:
    """One offending cell, row, column or file.

    Args:
        file: the file's name, `users.csv`.
        what: the fact.
        remedy: what the sender of the file changes.
        row: the line in the file as an editor numbers it; the header is line 1.
        column: the column's name, empty where the whole row or file is meant.
        value: the offending text.
        more: how many further cells have the same problem and are not listed.
    """

    file: str
    what: str
    remedy: str
    row: int | None = None
    column: str = ""
    value: str = ""
    more: int = 0


@dataclass(frozen=True)
class Oddity:
    """Something unusual that blocks nothing: how many of how many rows."""

    file: str
    column: str
    what: str
    count: int
    rows: int


class RefusedDrop(ChurnError):
    """A drop, or a stored file, that breaks the rules; nothing was written."""

    def __init__(self, problems: Sequence[Problem], *, where: str, remedy: str = "") -> None:
        from churn.deliveries.report import summary, text

        self.problems = tuple(problems)
        super().__init__(
            f"{summary(self.problems)}\n{text(self.problems)}",
            where=where,
            remedy=remedy or "correct the files and deliver the folder again; nothing was taken in",
        )


def total(problems: Iterable[Problem]) -> int:
    """Count the problems, the ones not listed too."""
    return sum(1 + problem.more for problem in problems)


def cells(template: Problem, found: Iterable[tuple[int | None, str]], count: int) -> list[Problem]:
    """List the first few offending cells of one kind; the last one says how many more there are.

    Args:
        template: file, column, what and remedy of this kind.
        found: (row, value) of at least the first cells.
        count: how many cells there are in all.
    """
    listed = [
        replace(template, row=row, value=shortened(value))
        for (row, value), _ in zip(found, range(SHOWN_PER_KIND), strict=False)
    ]
    if listed and count > len(listed):
        listed[-1] = replace(listed[-1], more=count - len(listed))
    return listed


def shortened(value: str, width: int = 40) -> str:
    """Return the text on one line, cut to `width` characters."""
    line = value.encode("unicode_escape").decode() if not value.isprintable() else value
    return line if len(line) <= width else f"{line[: width - 1]}…"
