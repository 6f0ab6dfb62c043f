"""What was done to whom: a month's treatments as the campaign reports them back, held against its list.

A file and what somebody enters by hand take the same way: read as a file, held against the rules and the
list, and kept in one transaction.
"""

import csv
import datetime as dt
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa

from churn.contract.in_force import USER_ID
from churn.contract.structure import Column, Table
from churn.database import connect, lock
from churn.deliveries.files import Reading, Source
from churn.deliveries.problems import SHOWN_PER_KIND, Problem, RefusedDrop, cells
from churn.errors import ChurnError
from churn.months import Month
from churn.scoring.action_file import COLUMNS as LIST_COLUMNS
from churn.scoring.action_file import CONTROL, as_it_was, harmless

OUTCOMES = ("accepted", "declined", "not reached")
LIST = "list"  # the column with the fingerprint of the list that a file is about
_NEEDED = ("treated_at", "channel")
_VALUES = (*_NEEDED, "offer", "outcome")
# Texts of people's own, which an exported list keeps from being run by a spreadsheet.
_HARMLESS = ("user_id", "channel", "offer")
# An exported list comes back filled in, with all that it says of its users; of that nothing is read.
_OF_THE_LIST = (*(name for name in LIST_COLUMNS if name != USER_ID.name), "customer_value")
COLUMNS = (
    # The month of the action list, such as 2024-05.
    Column("month", "string", required=True),
    USER_ID,
    Column("treated_at", "date"),
    Column("channel", "string"),
    Column("offer", "string", optional=True),
    Column("outcome", "string", optional=True),
    Column(LIST, "string", optional=True),
    *(Column(name, "string", optional=True) for name in _OF_THE_LIST),
)


@dataclass(frozen=True)
class Treatment:
    """What was done to one user.

    Args:
        user_id: on the action list of the month.
        treated_at: a day of the month after the list's.
        channel: by which the user was reached, in your own words: phone.
        offer: what was offered, in your own words.
        outcome: one of OUTCOMES.
    """

    user_id: str
    treated_at: dt.date
    channel: str
    offer: str | None = None
    outcome: str | None = None


@dataclass(frozen=True)
class Loaded:
    """What loading treatments came to."""

    month: Month
    new: int
    changed: int
    unchanged: int
    breaches: tuple[str, ...]


def load_treatments(
    source: Source,
    *,
    name: str = "",
    actor: str | None = None,
    connection: psycopg.Connection | None = None,
) -> Loaded:
    """Take in a file of treatments of one month; all of it or nothing. The same again changes nothing.

    A treated user of the control group is taken in, for it happened, and named as a breach. In a list that
    was exported and filled in, a row without day, channel, offer and outcome is a user not yet treated.

    Args:
        source: the file, or its content.
        name: what the file is called, where its content is given.
        actor: who reports it, if that is known.
        connection: whose transaction it becomes a part of; one of its own where none is given.

    Raises:
        RefusedDrop: cells that cannot be read, users who are not on the month's action list, days on
            which a treatment cannot count for it, or a list that has been made anew since.
        ChurnError: the file cannot be opened, or the month has no action list.
    """
    where = name or str(source)
    reading = _read(source, where)
    assert reading.rows is not None  # noqa: S101  (refused otherwise)
    # Texts are as an exported list has them, where one like `=1+1` has an apostrophe in front.
    rows = [
        row | {name: as_it_was(row[name]) for name in _HARMLESS if row.get(name)}
        for row in reading.rows.to_pylist()
    ]
    month = _month(where, reading, rows)
    if connection is not None:
        return _load(connection, where, reading, rows, month, actor)
    with connect() as own:
        return _load(own, where, reading, rows, month, actor)


def _load(
    connection: psycopg.Connection,
    where: str,
    reading: Reading,
    rows: list[dict[str, Any]],
    month: Month,
    actor: str | None,
) -> Loaded:
    lock(connection, f"treatments {month}")
    groups = _groups(connection, month)
    if not groups:
        raise ChurnError(
            f"there is no action list of {month}",
            where=where,
            remedy="close the month first, or correct the column month",
        )
    problems = [
        *_other_lists(connection, reading, rows, month),
        *_strangers(reading, rows, groups, month),
        *_days(reading, rows, month),
    ]
    _refuse(where, problems)
    known = read_treatments(month, connection)
    told = {
        row["user_id"]: Treatment(row["user_id"], *(row[name] for name in _VALUES))
        for row in rows
        if not _is_untreated(row)
    }
    news = {user: each for user, each in told.items() if known.get(user) != each}
    if news:
        _keep(connection, month, news.values(), actor)
        _keep_reports(connection, month, sorted(news), actor)
        _keep_count(connection, month)
    return Loaded(
        month,
        new=len(news.keys() - known.keys()),
        changed=len(news.keys() & known.keys()),
        unchanged=len(told) - len(news),
        breaches=tuple(sorted(user for user in told if groups[user] == CONTROL)),
    )


def report_treatments(
    month: Month,
    treatments: Sequence[Treatment],
    *,
    actor: str,
    connection: psycopg.Connection | None = None,
) -> Loaded:
    """Take in what somebody entered of some users of a month's list, as a file that says the same.

    Args:
        month: of the action list.
        treatments: one for each user.
        actor: who entered it.
        connection: whose transaction it becomes a part of; one of its own where none is given.

    Raises:
        RefusedDrop: as of a file.
        ChurnError: the month has no action list.
    """
    names = ["month", *(each.name for each in fields(Treatment))]
    with io.StringIO(newline="") as text:
        writer = csv.writer(text)
        writer.writerow(names)
        for each in treatments:
            values = {field.name: getattr(each, field.name) for field in fields(Treatment)}
            values |= {name: harmless(values[name]) for name in _HARMLESS if values[name]}
            writer.writerow([month, *values.values()])
        content = text.getvalue().encode()
    return load_treatments(content, name="what was entered", actor=actor, connection=connection)


def withdraw_treatments(
    month: Month, users: Sequence[str], *, actor: str, connection: psycopg.Connection
) -> int:
    """Take back what was reported of some users of a month's list: all of it or nothing; return how many.

    The report stays on record with who made it, and the withdrawal with who withdrew it; nothing counts the
    treatment any more. It may be reported anew.

    Args:
        month: of the action list.
        users: of whom a treatment was reported.
        actor: who withdraws.
        connection: whose transaction it becomes a part of.

    Raises:
        ChurnError: of one of them no report stands.
    """
    lock(connection, f"treatments {month}")
    standing = read_treatments(month, connection)
    chosen = sorted(set(users))
    if unknown := [user for user in chosen if user not in standing]:
        raise ChurnError(
            f"no report stands of {', '.join(unknown[:SHOWN_PER_KIND])}",
            where=f"list of {month}",
            remedy="choose users who are shown as called; nothing was withdrawn",
        )
    connection.execute(
        "UPDATE treatments SET withdrawn_at = clock_timestamp(), recorded_at = clock_timestamp()"
        " WHERE as_of = %s AND user_id = ANY(%s)",
        [month.as_of, chosen],
    )
    _keep_reports(connection, month, chosen, actor)
    _keep_count(connection, month)
    return len(chosen)


def read_treatments(month: Month, connection: psycopg.Connection) -> dict[str, Treatment]:
    """Return what was done to each treated user of a month."""
    rows = connection.execute(
        "SELECT user_id, treated_at, channel, offer, outcome FROM treatments"
        " WHERE as_of = %s AND withdrawn_at IS NULL",
        [month.as_of],
    )
    return {row[0]: Treatment(*row) for row in rows}


def _read(source: Source, where: str) -> Reading:
    from churn.deliveries.rules import load

    table = Table(Path(where).stem, "treatments", COLUMNS)
    try:
        reading, problems = load(source, table)
    except OSError as error:
        raise ChurnError(f"cannot be read: {error.strerror}", where=where) from error
    _refuse(where, [*problems, *_blanks(reading), *_other_outcomes(reading)])
    return reading


def _blanks(reading: Reading) -> list[Problem]:
    """Return the days and channels that are not filled in."""
    if reading.rows is None:
        return []
    rows = reading.rows.to_pylist()
    problems: list[Problem] = []
    for column in _NEEDED:
        unreadable = reading.unreadable.get(column, ())
        wrong = [
            at
            for at, row in enumerate(rows)
            if column in row and row[column] is None and at not in unreadable
            if not _is_untreated(row)
        ]
        remedy = f"fill it in: every row needs a {column}"
        problems += _cells(reading, column, "is blank", remedy, wrong)
    return problems


def _is_untreated(row: dict[str, Any]) -> bool:
    """Say whether a row of an exported list was left as it came."""
    is_listed = any(row.get(name) is not None for name in (LIST, *_OF_THE_LIST))
    return is_listed and all(row.get(name) is None for name in _VALUES)


def _other_outcomes(reading: Reading) -> list[Problem]:
    if reading.rows is None or "outcome" not in reading.rows.column_names:
        return []
    values = reading.rows["outcome"].to_pylist()
    wrong = [at for at, value in enumerate(values) if value is not None and value not in OUTCOMES]
    remedy = f"write one of: {', '.join(OUTCOMES)}; or leave it blank"
    return _cells(reading, "outcome", "is no outcome", remedy, wrong)


def _month(where: str, reading: Reading, rows: list[dict[str, Any]]) -> Month:
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
    _refuse(where, _cells(reading, "month", what, remedy, wrong))
    assert first is not None  # noqa: S101  (a file has rows, or it was refused)
    return first


def _groups(connection: psycopg.Connection, month: Month) -> dict[str, str]:
    groups = connection.execute(
        "SELECT user_id, treatment_group FROM action_list WHERE as_of = %s", [month.as_of]
    )
    return dict(groups.fetchall())


def _other_lists(
    connection: psycopg.Connection, reading: Reading, rows: list[dict[str, Any]], month: Month
) -> list[Problem]:
    if all(row[LIST] is None for row in rows):
        return []
    in_force = _list_in_force(connection, month)
    wrong = [at for at, row in enumerate(rows) if row[LIST] not in (None, in_force)]
    what = f"is not the action list of {month} as it is now"
    remedy = (
        "export the list again; or remove the column, if what was done is to count for the new one"
    )
    return _cells(reading, LIST, what, remedy, wrong)


def _list_in_force(connection: psycopg.Connection, month: Month) -> str | None:
    row = connection.execute(
        "SELECT fingerprint FROM action_lists WHERE as_of = %s", [month.as_of]
    ).fetchone()
    return row[0] if row else None


def _strangers(
    reading: Reading, rows: list[dict[str, Any]], groups: dict[str, str], month: Month
) -> list[Problem]:
    wrong = [at for at, row in enumerate(rows) if row["user_id"] not in groups]
    what = f"is not on the action list of {month}"
    remedy = f"remove the row; `churn actions --month {month}` shows who is"
    return _cells(reading, "user_id", what, remedy, wrong)


def _days(reading: Reading, rows: list[dict[str, Any]], month: Month) -> list[Problem]:
    last = month.matures_at.date()
    wrong = [
        at
        for at, row in enumerate(rows)
        if not _is_untreated(row) and not month.as_of_date < row["treated_at"] <= last
    ]
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
    located = ((lines[row], _text(values[row])) for row in shown)
    return cells(Problem(reading.file, what, remedy, column=column), located, len(at))


def _text(cell: pa.Scalar) -> str:
    return str(cell.as_py()) if cell.is_valid else ""


def _refuse(where: str, problems: Sequence[Problem]) -> None:
    if problems:
        remedy = "correct the file and load it again; nothing was taken in"
        raise RefusedDrop(problems, where=where, remedy=remedy)


def _keep(
    connection: psycopg.Connection, month: Month, news: Iterable[Treatment], actor: str | None
) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO treatments (as_of, user_id, treated_at, channel, offer, outcome, actor)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (as_of, user_id) DO UPDATE SET"
            " treated_at = excluded.treated_at, channel = excluded.channel, offer = excluded.offer,"
            " outcome = excluded.outcome, actor = excluded.actor, recorded_at = clock_timestamp(),"
            " withdrawn_at = NULL",
            [
                (month.as_of, each.user_id, *(getattr(each, name) for name in _VALUES), actor)
                for each in sorted(news, key=lambda each: each.user_id)
            ],
        )


def _keep_reports(
    connection: psycopg.Connection, month: Month, users: Sequence[str], actor: str | None
) -> None:
    """Add the reports that now stand of these users, or their withdrawals, to those that were ever made."""
    connection.execute(
        "INSERT INTO treatment_reports (as_of, user_id, treated_at, channel, offer, outcome, actor,"
        " is_withdrawal) SELECT as_of, user_id, treated_at, channel, offer, outcome, %s,"
        " withdrawn_at IS NOT NULL FROM treatments WHERE as_of = %s AND user_id = ANY(%s) ORDER BY user_id",
        [actor, month.as_of, list(users)],
    )


def _keep_count(connection: psycopg.Connection, month: Month) -> None:
    """Write down how many treatments of the month stand now."""
    connection.execute(
        "INSERT INTO treatment_months (as_of, users)"
        " SELECT %(as_of)s, count(*) FROM treatments WHERE as_of = %(as_of)s AND withdrawn_at IS NULL"
        " ON CONFLICT (as_of) DO UPDATE SET users = excluded.users, recorded_at = clock_timestamp()",
        {"as_of": month.as_of},
    )
