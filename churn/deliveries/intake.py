"""One drop, read and validated as a whole before anything is written."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from churn.contract.tables import LABELS, TABLES, USERS, Table
from churn.deliveries.agreement import Users, strangers
from churn.deliveries.drops import drop_files, shown_name
from churn.deliveries.oddities import oddities, oddities_beside
from churn.deliveries.problems import Oddity, Problem, Refusal, RefusedDrop
from churn.fingerprint import fingerprint
from churn.months import Month


@dataclass(frozen=True)
class DropFile:
    """One sound file of a drop."""

    table: Table
    path: Path
    rows: int
    sha256: str
    fingerprint: str


@dataclass(frozen=True)
class Drop:
    """A sound drop: its files, and what is odd about them."""

    files: tuple[DropFile, ...]
    oddities: tuple[Oddity, ...]


@dataclass
class _Findings:
    """What reading the files one after the other has brought so far."""

    problems: list[Problem] = field(default_factory=list)
    strangers: list[Problem] = field(default_factory=list)
    oddities: list[Oddity] = field(default_factory=list)
    files: list[DropFile] = field(default_factory=list)
    users: Users | None = None
    are_users_accepted: bool = False  # they come from accepted deliveries, not from this drop


def read_drop(folder: Path, month: Month, known_users: Callable[[], pa.Array | None]) -> Drop:
    """Read a drop and hold it against all rules; the rows of one file are in memory at a time.

    Args:
        folder: the folder of CSV files.
        month: the month that the drop describes.
        known_users: gives the users of the month's accepted users.csv, asked where labels come alone;
            None where there is none.

    Raises:
        RefusedDrop: a file is missing or breaks a rule, or the files contradict each other.
        Refusal: the folder holds no drop, or cannot be listed.
    """
    try:
        files = drop_files(folder)
    except OSError as error:
        what = f"the folder cannot be listed: {error.strerror}"
        remedy = "make it a folder that can be read"
        raise Refusal(what, where=str(folder), remedy=remedy, depends_on=["access"]) from error
    present = list(files)
    if not present:
        expected = ", ".join(table.file for table in TABLES)
        raise Refusal(
            "no file of a drop is here", where=str(folder), remedy=f"expected: {expected}"
        )
    found = _Findings()
    if present == [LABELS]:
        ids = known_users()
        found.users = None if ids is None else Users(ids)
        found.are_users_accepted = True
        if ids is None:
            what = f"no {USERS.file} of {month} has been accepted, which labels alone need"
            remedy = "deliver the whole drop"
            found.problems.append(Problem(LABELS.file, what, remedy, depends_on="deliveries"))
    else:
        found.problems += _missing(present)
    for table, paths in files.items():
        if len(paths) > 1:
            names = " and ".join(shown_name(path.name) for path in paths)
            what = f"lies here more than once, as {names}"
            found.problems.append(Problem(table.file, what, "keep the right one of them"))
        else:
            _read_file(paths[0], table, month, found)
    if found.problems or found.strangers:
        raise RefusedDrop([*found.problems, *found.strangers], where=f"{folder} ({month})")
    return Drop(tuple(found.files), (*found.oddities, *_strange_files(folder)))


def _read_file(path: Path, table: Table, month: Month, found: _Findings) -> None:
    from churn.deliveries.rules import load  # brings pandas and pandera

    try:
        reading, broken = load(path, table)
    except OSError as error:
        said = f"the file cannot be read: {error.strerror}"
        found.problems.append(Problem(table.file, said, "make it readable", depends_on="access"))
        return
    found.problems += broken
    rows = reading.rows
    if rows is None:
        return
    by_user = reading.by_user
    if table is USERS:
        found.users = Users(rows["user_id"]) if by_user is None else Users.of(by_user)
    elif found.users is not None:
        strange = strangers(reading, table, found.users)
        if found.are_users_accepted:  # a correction of users.csv may yet name them
            strange = [replace(problem, depends_on="deliveries") for problem in strange]
        found.strangers += strange
    if found.problems or found.strangers or by_user is None:
        return  # the drop is refused by now; what follows would be for nothing
    found.oddities += oddities(table, rows, month)
    if table is not USERS and found.users is not None:
        found.oddities += oddities_beside(found.users, table, by_user, month)
    content = fingerprint(rows, order=by_user.order)
    found.files.append(DropFile(table, path, rows.num_rows, reading.sha256, content))


def _missing(present: list[Table]) -> list[Problem]:
    return [
        Problem(table.file, "the file is missing", f"add it; only {LABELS.file} may be absent")
        for table in TABLES
        if table not in present and table != LABELS
    ]


def _strange_files(folder: Path) -> list[Oddity]:
    files = {path for paths in drop_files(folder).values() for path in paths}
    return [
        Oddity(shown_name(path.name), "", "not a file of a drop: not read", 1, 1)
        for path in sorted(folder.iterdir())
        if path.name.lower().endswith((".csv", ".csv.gz")) and path not in files
    ]
