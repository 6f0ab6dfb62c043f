"""One drop, read and validated as a whole before anything is written."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from churn.contract.tables import LABELS, TABLES, USERS, Table
from churn.deliveries.agreement import disagreements
from churn.deliveries.oddities import oddities
from churn.deliveries.problems import Oddity, Problem, RefusedDrop
from churn.deliveries.read import read_csv
from churn.deliveries.reading import Reading
from churn.errors import ChurnError
from churn.fingerprint import fingerprint
from churn.months import Month


@dataclass(frozen=True)
class DropFile:
    """One sound file of a drop."""

    table: Table
    data: bytes
    rows: pa.Table
    sha256: str
    fingerprint: str


@dataclass(frozen=True)
class Drop:
    """A sound drop: its files, and what is odd about them."""

    files: tuple[DropFile, ...]
    oddities: tuple[Oddity, ...]


def read_drop(folder: Path, month: Month, known_users: Callable[[], pa.Array | None]) -> Drop:
    """Read a drop and hold it against all rules.

    Args:
        folder: the folder of CSV files.
        month: the month that the drop describes.
        known_users: gives the users of the month's accepted users.csv, asked where labels come alone;
            None where there is none.

    Raises:
        RefusedDrop: a file is missing or breaks a rule, or the files contradict each other.
        ChurnError: the folder holds no drop.
    """
    from churn.deliveries.rules import broken_rules  # brings pandas and pandera

    present = [table for table in TABLES if (folder / table.file).is_file()]
    if not present:
        expected = ", ".join(table.file for table in TABLES)
        raise ChurnError(
            "no file of a drop is here", where=str(folder), remedy=f"expected: {expected}"
        )
    problems = [] if present == [LABELS] else _missing(present)
    readings: dict[str, Reading] = {}
    for table in present:
        try:
            readings[table.name] = read_csv((folder / table.file).read_bytes(), table)
        except OSError as error:
            said = f"the file cannot be read: {error.strerror}"
            problems.append(Problem(table.file, said, "make it readable"))
            continue
        problems += [*readings[table.name].problems, *broken_rules(readings[table.name], table)]
    users = known_users() if present == [LABELS] else None
    if present == [LABELS] and users is None:
        what = f"no {USERS.file} of {month} has been accepted, which labels alone need"
        problems.append(Problem(LABELS.file, what, "deliver the whole drop"))
    problems += disagreements(readings, users)
    if problems:
        raise RefusedDrop(problems, where=f"{folder} ({month})")
    rows = {name: reading.rows for name, reading in readings.items() if reading.rows is not None}
    found = [*oddities(rows, month), *_strange_files(folder)]
    files = [_sound(table, readings[table.name].data, rows[table.name]) for table in present]
    return Drop(tuple(files), tuple(found))


def _missing(present: list[Table]) -> list[Problem]:
    return [
        Problem(table.file, "the file is missing", f"add it; only {LABELS.file} may be absent")
        for table in TABLES
        if table not in present and table != LABELS
    ]


def _sound(table: Table, data: bytes, rows: pa.Table) -> DropFile:
    return DropFile(table, data, rows, hashlib.sha256(data).hexdigest(), fingerprint(rows))


def _strange_files(folder: Path) -> list[Oddity]:
    known = {table.file for table in TABLES}
    names = sorted(path.name for path in folder.iterdir() if path.suffix.lower() == ".csv")
    return [
        Oddity(name, "", "not a file of a drop: not read", 1, 1)
        for name in names
        if name not in known
    ]
