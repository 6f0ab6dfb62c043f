"""Problems of a drop, for which it is refused, and oddities, which only warn.

Both are shown as plain text in the terminal and as Markdown in Dagster. The readers and `rules.py` decide
what is a problem, `oddities.py` what is odd.
"""

import datetime as dt
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import psycopg

from churn.contract.user_ids import is_seen_whole
from churn.errors import ChurnError
from churn.markdown import plain, table

SHOWN_PER_KIND = 5
SHOWN = 20
# What a refusal may depend on besides the content of the files: the clock; CHURN_FIRST_MONTH and
# CHURN_LAST_MONTH; what else has been delivered; whether files and store can be read and written.
Circumstance = Literal["time", "settings", "deliveries", "access"]
# Errors that the content of a file may cause besides the problems that are foreseen, and will cause again at
# the next try. A Postgres that does not answer, or has no room, is not among them: that passes.
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
        file: the file's name, such as `users.csv`.
        what: the fact.
        remedy: what the sender of the file should change.
        row: the line in the file as an editor numbers it; the header is line 1.
        column: the column's name; empty where the whole row or file is meant.
        value: the offending text.
        more: how many further cells have the same problem and are not listed.
        depends_on: what may remove the problem without a change of the file; None where nothing can.
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
    """Something unusual that blocks nothing, in `count` of `rows` rows."""

    file: str
    column: str
    what: str
    count: int
    rows: int


class Refusal(ChurnError):
    """A drop is not accepted, for a reason that may pass or not.

    Args:
        what: the fact.
        where: folder, file and month.
        remedy: the next step.
        depends_on: the circumstances that may change the answer while the files stay as they are. Where it is
            empty, the same files are refused at any time, and need not be tried again.
        until: where the answer depends on time alone, the instant from which it will be another.
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
            # One wrong cell is enough: whatever else changes, the drop is refused until it is corrected.
            depends_on=() if None in circumstances else [c for c in circumstances if c],
        )


def total(problems: Iterable[Problem]) -> int:
    """Return the number of problems, including those that are not listed."""
    return sum(1 + problem.more for problem in problems)


def cells(template: Problem, places: Iterable[tuple[int | None, str]], count: int) -> list[Problem]:
    """List the first few offending cells of one kind; the last one says how many more there are.

    Args:
        template: a problem with the file, column, what and remedy of this kind.
        places: (row, value) of at least the first cells.
        count: how many cells there are in all.
    """
    listed = [
        replace(template, row=row, value=shortened(value))
        for (row, value), _ in zip(places, range(SHOWN_PER_KIND), strict=False)
    ]
    if listed and count > len(listed):
        listed[-1] = replace(listed[-1], more=count - len(listed))
    return listed


def shortened(value: str, width: int = 40) -> str:
    """Return the text on one line, cut to `width` characters; invisible characters are spelled out."""
    line = value if is_seen_whole(value) else value.encode("unicode_escape").decode()
    return line if len(line) <= width else f"{line[: width - 1]}…"


def summary(problems: Sequence[Problem]) -> str:
    """Return one line that says how many problems there are, and in which files."""
    per_file: Counter[str] = Counter()
    for problem in problems:
        per_file[problem.file] += 1 + problem.more
    count = total(problems)
    files = ", ".join(f"{file} {number}" for file, number in per_file.items())
    return f"{count} problem{'' if count == 1 else 's'} ({files})" if problems else "no problems"


def text(problems: Sequence[Problem], limit: int = SHOWN) -> str:
    """Return one line per problem, with place, value, fact and remedy; at most `limit` lines."""
    lines = [
        f"  {_place(p)}: {_statement(p)}{f' (and {p.more} more)' if p.more else ''}; {p.remedy}"
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


def _statement(problem: Problem) -> str:
    return f"'{problem.value}' {problem.what}" if problem.value else problem.what


def _more(problem: Problem) -> str:
    return str(problem.more) if problem.more else ""


def _rest(problems: Sequence[Problem], limit: int) -> list[str]:
    hidden = total(problems[limit:])
    return [f"  and {hidden} more problems"] if hidden else []


def _table(header: list[str], rows: Iterable[list[str]]) -> str:
    return "\n".join(table(header, ([plain(cell) for cell in row] for row in rows)))
