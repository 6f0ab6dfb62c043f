"""What was done to whom: a month's treatments as the campaign reports them back, held against its list."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa

from churn.contract.in_force import USER_ID
from churn.contract.structure import Column, Table
from churn.database import connect, lock
from churn.deliveries.files import Reading
from churn.deliveries.problems import SHOWN_PER_KIND, Problem, RefusedDrop, cells
from churn.errors import ChurnError
from churn.months import Month
from churn.scoring.actions import CONTROL, as_it_was

COLUMNS = (
    Column("month", "string", required=True),  # of the action list: 2024-05
    USER_ID,
    Column("treated_at", "date", required=True),
    Column("channel", "string", required=True),
    Column("offer", "string", optional=True),
)
_VALUES = ("treated_at", "channel", "offer")


@dataclass(frozen=True)
class Loaded:
    """What loading a file of treatments came to."""

    month: Month
    new: int
    changed: int  # told differently before
    unchanged: int
    breaches: tuple[str, ...]  # users of the control group who were treated all the same


def load_treatments(path: Path) -> Loaded:
    """Take in a file of treatments of one month; all of it or nothing. The same again changes nothing.

    A treated user of the control group is taken in, for it happened, and named as a breach.

    Raises:
        RefusedDrop: cells that cannot be read, users who are not on the month's action list, or days on
            which a treatment cannot count for it.
        ChurnError: the file cannot be opened, or the month has no action list.
    """
    reading = _read(path)
    assert reading.rows is not None  # noqa: S101  (refused otherwise)
    # Users are told as the list has them: there, an id like `=1+1` stands behind an apostrophe.
    rows = [row | {"user_id": as_it_was(row["user_id"])} for row in reading.rows.to_pylist()]
    month = _month(path, reading, rows)
    with connect() as connection:
        lock(connection, f"treatments {month}")
        groups = _groups(connection, month)
        if not groups:
            raise ChurnError(
                f"there is no action list of {month}",
                where=str(path),
                remedy="close the month first, or correct the column month",
            )
        _refuse(
            path, reading, [*_strangers(reading, rows, groups, month), *_days(reading, rows, month)]
        )
        known = read_treatments(month, connection)
        told = {row["user_id"]: tuple(row[name] for name in _VALUES) for row in rows}
        news = {user: values for user, values in told.items() if known.get(user) != values}
        _keep(connection, month, news)
        if news:
            _keep_count(connection, month)
    return Loaded(
        month,
        new=len(news.keys() - known.keys()),
        changed=len(news.keys() & known.keys()),
        unchanged=len(told) - len(news),
        breaches=tuple(sorted(user for user in told if groups[user] == CONTROL)),
    )


def read_treatments(
    month: Month, connection: psycopg.Connection
) -> dict[str, tuple[dt.date, str, str | None]]:
    """Return the day, channel and offer of each treated user of a month."""
    found = connection.execute(
        "SELECT user_id, treated_at, channel, offer FROM treatments WHERE as_of = %s",
        [month.as_of],
    )
    return {user: (treated_at, channel, offer) for user, treated_at, channel, offer in found}


def _read(path: Path) -> Reading:
    from churn.deliveries.rules import load

    table = Table(path.stem, "treatments", COLUMNS)
    try:
        reading, problems = load(path, table)
    except OSError as error:
        raise ChurnError(f"cannot be read: {error.strerror}", where=str(path)) from error
    _refuse(path, reading, problems)
    return reading


def _month(path: Path, reading: Reading, rows: list[dict[str, Any]]) -> Month:
    first, wrong = None, []
    for at, row in enumerate(rows):
        try:
            month = Month.parse(row["month"])
        except ChurnError:
            wrong.append(at)
            continue
        first = first or month
        if month != first:
            wrong.append(at)
    what, remedy = "is not the file's one month", "write 2024-05; one file for each month"
    _refuse(path, reading, _cells(reading, "month", what, remedy, wrong))
    assert first is not None  # noqa: S101  (a file has rows, or it was refused)
    return first


def _groups(connection: psycopg.Connection, month: Month) -> dict[str, str]:
    found = connection.execute(
        "SELECT user_id, treatment_group FROM action_list WHERE as_of = %s", [month.as_of]
    )
    return dict(found.fetchall())


def _strangers(
    reading: Reading, rows: list[dict[str, Any]], groups: dict[str, str], month: Month
) -> list[Problem]:
    wrong = [at for at, row in enumerate(rows) if row["user_id"] not in groups]
    what = f"is not on the action list of {month}"
    remedy = f"remove the row; `churn actions --month {month}` shows who is"
    return _cells(reading, "user_id", what, remedy, wrong)


def _days(reading: Reading, rows: list[dict[str, Any]], month: Month) -> list[Problem]:
    last = month.matures_at.date()
    wrong = [at for at, row in enumerate(rows) if not month.as_of_date < row["treated_at"] <= last]
    what = f"is not in {month.next}, in which the labels of {month} arise"
    return _cells(reading, "treated_at", what, "correct the day, or the month", wrong)


def _cells(
    reading: Reading, column: str, what: str, remedy: str, wrong: Iterable[int]
) -> list[Problem]:
    at = list(wrong)
    if not at:
        return []
    assert reading.rows is not None  # noqa: S101
    shown, values = at[:SHOWN_PER_KIND], reading.rows[column]
    lines = reading.line_numbers(shown)
    found = ((lines[row], _text(values[row])) for row in shown)
    return cells(Problem(reading.file, what, remedy, column=column), found, len(at))


def _text(cell: pa.Scalar) -> str:
    return str(cell.as_py())


def _refuse(path: Path, reading: Reading, problems: list[Problem]) -> None:
    if problems:
        remedy = "correct the file and load it again; nothing was taken in"
        raise RefusedDrop(problems, where=str(path), remedy=remedy)


def _keep(connection: psycopg.Connection, month: Month, news: dict[str, tuple[Any, ...]]) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO treatments (as_of, user_id, treated_at, channel, offer)"
            " VALUES (%s, %s, %s, %s, %s) ON CONFLICT (as_of, user_id) DO UPDATE SET"
            " treated_at = excluded.treated_at, channel = excluded.channel, offer = excluded.offer,"
            " recorded_at = clock_timestamp()",
            [(month.as_of, user, *values) for user, values in sorted(news.items())],
        )


def _keep_count(connection: psycopg.Connection, month: Month) -> None:
    """Write down how many treatments of the month there are now."""
    connection.execute(
        "INSERT INTO treatment_months (as_of, users)"
        " SELECT as_of, count(*) FROM treatments WHERE as_of = %s GROUP BY as_of"
        " ON CONFLICT (as_of) DO UPDATE SET users = excluded.users, recorded_at = clock_timestamp()",
        [month.as_of],
    )
