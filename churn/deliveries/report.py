"""Problems and oddities as a person reads them: plain text for the terminal, Markdown for Dagster."""

from collections import Counter
from collections.abc import Iterable, Sequence

from churn.deliveries.problems import SHOWN, Oddity, Problem, total
from churn.markdown import plain


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
