"""Drops on disk: which folders are drops, of which month, and what else lies beside them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from churn.contract.tables import TABLES, Table
from churn.deliveries.problems import Refusal
from churn.errors import ChurnError
from churn.months import Month
from churn.settings import Settings, get_settings

_NAME = re.compile(r"month_([0-9]{3,})")
_ALIKE = re.compile(r"month[^0-9]{0,2}([0-9]{1,4})(?![0-9])", re.IGNORECASE)
_UNFINISHED = (".part", ".partial", ".tmp", ".temp", ".filepart", ".crdownload", ".download")
_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".7z", ".rar")
_LAST_YEAR = 9000  # beyond it lies the end of Python's calendar


@dataclass(frozen=True)
class Stray:
    """Something beside the drops that is not one of them, and is passed over.

    Args:
        name: what it is called.
        what: why it is none.
        remedy: what makes a drop of it, or the folder tidy.
        is_alike: whether somebody may have meant it as a drop.
    """

    name: str
    what: str
    remedy: str
    is_alike: bool = True

    def __str__(self) -> str:
        return f"{shown_name(self.name)} {self.what}; {self.remedy}"


@dataclass(frozen=True)
class Listing:
    """What lies in a folder of drops."""

    drops: tuple[tuple[Month, Path], ...]  # the oldest month first
    strays: tuple[Stray, ...]  # by name


def list_drops(folder: Path, settings: Settings | None = None) -> Listing:
    """Return what lies in a folder of `month_NNN` folders; nothing in it is an error.

    A name says one month or none: another spelling of a number, case or ending is not read as what it
    resembles, since two folders would then be of one month. What begins with a dot is not looked at.

    Raises:
        OSError: the folder itself cannot be listed.
    """
    first = (settings or get_settings()).first_month
    drops: list[tuple[Month, Path]] = []
    strays: list[Stray] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        try:
            entry = _judge(path, first)
        except OSError as error:
            entry = Stray(path.name, f"cannot be looked at: {error.strerror}", "make it readable")
        if isinstance(entry, Stray):
            strays.append(entry)
        else:
            drops.append((entry, path))
    return Listing(tuple(sorted(drops)), tuple(strays))


def find_drops(path: Path, settings: Settings | None = None) -> list[tuple[Month | None, Path]]:
    """Return the drops at `path`, by month: the folder itself, or its `month_NNN` folders.

    Raises:
        ChurnError: there is no such folder, it cannot be read, or no drop is in it.
    """
    chosen = settings or get_settings()
    if not path.is_dir():
        raise ChurnError(f"there is no folder {path}", remedy="give a folder of CSV files")
    try:
        month = month_of(path, chosen.first_month)
        listing = list_drops(path, chosen)
        if drop_files(path) and (month is not None or not listing.drops):
            return [(month, path)]
    except OSError as error:
        raise ChurnError(
            f"the folder cannot be read: {error.strerror}",
            where=str(path),
            remedy="make it readable",
        ) from error
    if not listing.drops:
        files = ", ".join(table.file for table in TABLES)
        passed_over = "".join(f"\n  {stray}" for stray in listing.strays[:5])
        raise ChurnError(
            f"no drop is in {path}{passed_over}",
            remedy=f"give a folder with {files}, or a folder of month_NNN folders",
        )
    return [*listing.drops]


def month_of(folder: Path, first: Month) -> Month | None:
    """Return the month that the folder's own name says, whatever a link leads to; None for none."""
    named = _NAME.fullmatch(_own_name(folder))
    month = _shifted(first, named[1]) if named else None
    return month if month and month.folder(first) == _own_name(folder) else None


def choose_month(folder: Path, month: Month | None, settings: Settings) -> Month:
    """Return the drop's month: as given, else as the folder's name says.

    Raises:
        Refusal: neither says it, or it lies outside of first and last month.
    """
    chosen = month or month_of(folder, settings.first_month)
    if chosen is None:
        raise Refusal(
            f"the folder's name does not say its month: {shown_name(_own_name(folder))}",
            where=str(folder),
            remedy=f"name it month_000 (which is {settings.first_month}) and on, or give the month",
        )
    first, last = settings.first_month, settings.last_month
    if chosen < first or (last is not None and chosen > last):
        raise Refusal(
            f"{chosen} is outside of the months {first} to {last or 'now'}",
            where=str(folder),
            remedy="correct the folder's name, or CHURN_FIRST_MONTH and CHURN_LAST_MONTH",
            depends_on=["settings"],
        )
    return chosen


def drop_files(folder: Path) -> dict[Table, list[Path]]:
    """Return the files of a drop, by table: `users.csv`, in any case, or compressed as `users.csv.gz`.

    More than one of a table is for the caller to refuse: none of them is the right one.
    """
    files: dict[Table, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        for table in TABLES:
            if path.name.lower() in (table.file, f"{table.file}.gz") and path.is_file():
                files.setdefault(table, []).append(path)
    return {table: files[table] for table in TABLES if table in files}


def unfinished_files(names: Iterable[str]) -> list[str]:
    """Return the names that copying programs give to files until these are whole."""
    return sorted(
        name
        for name in names
        if name.lower().endswith(_UNFINISHED) or (name.startswith(".") and ".csv" in name.lower())
    )


def shown_name(name: str) -> str:
    """Return a name that every screen, log and database takes, whatever bytes it is made of."""
    return name.encode("utf-8", "backslashreplace").decode()


def _judge(path: Path, first: Month) -> Month | Stray:
    """Say which month a thing in a folder of drops is the drop of, or why of none."""
    name, lower = path.name, path.name.lower()
    if path.is_symlink() and not path.exists():
        return Stray(name, "is a link to nothing", "remove it, or put the folder there")
    if lower.endswith(_UNFINISHED):
        what = "is still being copied, as its name says"
        return Stray(name, what, "rename it once it is whole, or remove it")
    if not path.is_dir():
        return _stray_file(name, first)
    month = month_of(path, first)
    if month is None:
        return _stray_folder(name, first)
    target = month_of(path.resolve(), first)
    if target not in (None, month):
        what = f"is named as the drop of {month}, but is a link to {path.resolve().name}"
        return Stray(name, what, f"that one is {target}: correct the link or its name")
    return month


def _stray_file(name: str, first: Month) -> Stray:
    if name.lower().endswith(_ARCHIVES):
        month = _resembled(name, first)
        folder = month.folder(first) if month else "month_NNN"
        remedy = f"unpack its CSV files into a folder {folder}"
        return Stray(name, "is an archive, which is not read", remedy)
    if any(name.lower().startswith(f"{table.name}.csv") for table in TABLES):
        return Stray(name, "lies outside of a drop", "put it into its month's folder, month_NNN")
    remedy = "a drop is a folder month_NNN; remove it, or keep it elsewhere"
    return Stray(name, "is not a folder", remedy, is_alike=_ALIKE.match(name) is not None)


def _stray_folder(name: str, first: Month) -> Stray:
    what, month = "does not say its month, so it is not read", _resembled(name, first)
    if month is None:
        remedy = f"name it month_NNN (month_000 is {first}), or keep it elsewhere"
        return Stray(name, what, remedy, is_alike=False)
    return Stray(name, what, f"if it is the drop of {month}, name it {month.folder(first)}")


def _resembled(name: str, first: Month) -> Month | None:
    """Return the month that a person may have meant."""
    alike = _ALIKE.match(name)
    return _shifted(first, alike[1]) if alike else None


def _shifted(first: Month, digits: str) -> Month | None:
    """Return the month that many after the first; None beyond the calendar."""
    months = int(digits[-9:]) if not digits[:-9].strip("0") else None
    last = (_LAST_YEAR - first.first_day.year) * 12
    return first.shift(months) if months is not None and months <= last else None


def _own_name(folder: Path) -> str:
    """Return the name that the folder is given by, not the one of what a link leads to."""
    return folder.name if folder.name not in ("", "..") else folder.resolve().name
