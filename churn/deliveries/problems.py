"""What is wrong with a drop (problems, which refuse it) and what is odd about it (oddities, which only warn).

Also how both are shown: plain text for the terminal, Markdown for Dagster. What is a problem is decided by
the readers and by `rules.py`, what is odd by `oddities.py`.
"""

import datetime as dt
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import psycopg

from churn.contract.user_ids import is_seen_whole
from churn.errors import ChurnError
from churn.markdown import plain

SHOWN_PER_KIND = 5
SHOWN = 20
# What a refusal depends on, beside the content of the files: the clock, CHURN_FIRST_MONTH and
# CHURN_LAST_MONTH, what else has been delivered, whether files and store can be read and written.
Circumstance = Literal["time", "settings", "deliveries", "access"]
# What the content of a file may cause beside the problems that are foreseen; it causes it again at the next
# try. That Postgres does not answer, or has no room, is no file's doing and passes.
CAUSED_BY_CONTENT = (
    ValueError,
    ArithmeticError,
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.errors.ProgramLimitExceeded,
)


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
        depends_on: what may make it disappear without a change of the file; None where nothing does.
    """

    file: str
    what: str
    remedy: str
    row: int | None = None
    column: str = ""
    value: str = ""
    more: int = 0
    depends_on: Circumstance | None = None


@dataclass(frozen=True)
class Oddity:
    """Something unusual that blocks nothing: how many of how many rows."""

    file: str
    column: str
    what: str
    count: int
    rows: int


class Refusal(ChurnError):
    """A drop is not taken in, and this is what the answer depends on.

    Args:
        what: the fact.
        where: folder, file and month.
        remedy: the next step.
        depends_on: the circumstances that may change the answer while the files stay as they are.
            Empty: the same files are refused at any time, so they are not asked about again.
        until: where it depends on time alone, the instant from which the answer is another one.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str = "",
        remedy: str = "",
        depends_on: Collection[Circumstance] = (),
        until: dt.datetime | None = None,
    ) -> None:
        self.depends_on: frozenset[Circumstance] = frozenset(depends_on)
        self.until = until
        super().__init__(what, where=where, remedy=remedy)


class RefusedDrop(Refusal):
    """A drop, or a stored file, that breaks the rules; nothing was written."""

    def __init__(self, problems: Sequence[Problem], *, where: str, remedy: str = "") -> None:

        self.problems = tuple(problems)
        circumstances = {problem.depends_on for problem in self.problems}
        super().__init__(
            f"{summary(self.problems)}\n{text(self.problems)}",
            where=where,
            remedy=remedy
            or "correct the files and deliver the folder again; nothing of it was taken in",
            # One wrong cell is enough: whatever else changes, the drop is refused until it is mended.
            depends_on=() if None in circumstances else [c for c in circumstances if c],
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
    """Return the text on one line, cut to `width` characters; what cannot be seen is spelled out."""
    line = value if is_seen_whole(value) else value.encode("unicode_escape").decode()
    return line if len(line) <= width else f"{line[: width - 1]}…"


def summary(problems: Sequence[Problem]) -> str:
    """Return one line: how many problems, and in which files."""
    per_file: Counter[str] = Counter()
    for problem in problems:
        per_file[problem.file] += 1 + problem.more
    count = total(problems)
    files = ", ".join(f"{file} {number}" for file, number in per_file.items())
    return f"{count} problem{'' if count == 1 else 's'} ({files})" if problems else "no problems"


def text(problems: Sequence[Problem], limit: int = SHOWN) -> str:
    """Return one line per problem, at most `limit`, each with place, value, fact and remedy."""
    lines = [
        f"  {_place(p)}: {_said(p)}{f' (and {p.more} more)' if p.more else ''}; {p.remedy}"
        for p in problems[:limit]
    ]
    return "\n".join([*lines, *_rest(problems, limit)])


def markdown(problems: Sequence[Problem], limit: int = SHOWN) -> str:
    """Return a Markdown table of the problems, at most `limit` rows."""
    if not problems:
        return "no problems"
    rows = (
        [p.file, "" if p.row is None else str(p.row), p.column, p.value, p.what, _more(p), p.remedy]
        for p in problems[:limit]
    )
    header = ["file", "row", "column", "value", "what", "more like it", "remedy"]
    return "\n\n".join([_table(header, rows), *_rest(problems, limit)])


def oddities_text(oddities: Sequence[Oddity]) -> str:
    """Return one line per oddity."""
    return "\n".join(
        f"  {o.file}{f' {o.column}' if o.column else ''}: {o.what}: {o.count:,} of {o.rows:,}"
        for o in oddities
    )


def oddities_markdown(oddities: Sequence[Oddity]) -> str:
    """Return a Markdown table of the oddities."""
    if not oddities:
        return "nothing odd"
    rows = ([o.file, o.column, o.what, f"{o.count:,}", f"{o.rows:,}"] for o in oddities)
    return _table(["file", "column", "what", "count", "of rows"], rows)


def _place(problem: Problem) -> str:
    row = "" if problem.row is None else f", row {problem.row}"
    column = f", column {problem.column}" if problem.column else ""
    return f"{problem.file}{row}{column}"


def _said(problem: Problem) -> str:
    return f"'{problem.value}' {problem.what}" if problem.value else problem.what


def _more(problem: Problem) -> str:
    return str(problem.more) if problem.more else ""


def _rest(problems: Sequence[Problem], limit: int) -> list[str]:
    hidden = total(problems[limit:])
    return [f"  and {hidden} more problems"] if hidden else []


def _table(header: list[str], rows: Iterable[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    escaped = (map(plain, line) for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)
