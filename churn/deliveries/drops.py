"""Drops on disk: which folders are drops, and of which month."""

import re
from pathlib import Path

from churn.contract.tables import TABLES
from churn.errors import ChurnError
from churn.months import Month
from churn.settings import Settings, get_settings

_NAME = re.compile(r"month_(\d{3,})")


def find_drops(path: Path, settings: Settings | None = None) -> list[tuple[Month | None, Path]]:
    """Return the drops at `path`, by month: the folder itself, or its `month_NNN` folders.

    Raises:
        ChurnError: there is no such folder, or no drop in it.
    """
    first = (settings or get_settings()).first_month
    if not path.is_dir():
        raise ChurnError(f"there is no folder {path}", remedy="give a folder of CSV files")
    if any((path / table.file).is_file() for table in TABLES):
        return [(month_of(path, first), path)]
    found = [
        (month, folder)
        for folder in path.iterdir()
        if folder.is_dir() and (month := month_of(folder, first)) is not None
    ]
    if not found:
        files = ", ".join(table.file for table in TABLES)
        raise ChurnError(
            f"no drop is in {path}",
            remedy=f"give a folder with {files}, or a folder of month_NNN folders",
        )
    return sorted(found)


def month_of(folder: Path, first: Month) -> Month | None:
    """Return the month that the folder's name says, None where it says none."""
    named = _NAME.fullmatch(folder.resolve().name)
    return first.shift(int(named[1])) if named else None


def choose_month(folder: Path, month: Month | None, settings: Settings) -> Month:
    """Return the drop's month: as given, else as the folder's name says.

    Raises:
        ChurnError: neither says it, or it lies outside of first and last month.
    """
    chosen = month or month_of(folder, settings.first_month)
    if chosen is None:
        raise ChurnError(
            f"the folder's name does not say its month: {folder.resolve().name}",
            where=str(folder),
            remedy=f"name it month_000 (which is {settings.first_month}) and on, or give the month",
        )
    first, last = settings.first_month, settings.last_month
    if chosen < first or (last is not None and chosen > last):
        raise ChurnError(
            f"{chosen} is outside of the months {first} to {last or 'now'}",
            where=str(folder),
            remedy="correct the folder's name, or CHURN_FIRST_MONTH and CHURN_LAST_MONTH",
        )
    return chosen
