"""Drops on disk: which folders are drops, of which month, and what else lies beside them.

A drop is a folder whose name gives its month. Where the names of the files give it (`billing_2024-01.csv`),
one flat folder may also hold the drops of many months.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from churn.contract.in_force import CONTRACT
from churn.contract.structure import Contract
from churn.deliveries.drop_files import (
    expected_files,
    month_of,
    months_of_files,
    named_file,
    named_files,
    own_name,
)
from churn.deliveries.patterns import file_pattern, filled, shifted, shown, shown_name
from churn.deliveries.problems import Refusal
from churn.errors import ChurnError
from churn.months import Month
from churn.settings import Settings, get_settings

_UNFINISHED = (".part", ".partial", ".tmp", ".temp", ".filepart", ".crdownload", ".download")
_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".7z", ".rar")


@dataclass(frozen=True)
class Stray:
    """Something beside the drops that is not one of them, and is passed over.

    Args:
        name: its name.
        what: why it is not a drop.
        remedy: how to make a drop of it, or to tidy the folder.
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
    """What lies in a folder of drops: the drops, oldest month first, and the strays, by name."""

    drops: tuple[tuple[Month, Path], ...]
    strays: tuple[Stray, ...]


def list_drops(
    folder: Path, settings: Settings | None = None, contract: Contract = CONTRACT
) -> Listing:
    """Return the drops in a folder, as folders or as files with a month in their names, and the strays.

    Nothing that lies there is an error. A name gives one month or none: another spelling of a number, case or
    ending is not taken for what it resembles, or two folders could be of one month. Names that begin with a
    dot are ignored.

    Raises:
        OSError: the folder itself cannot be listed.
    """
    first = (settings or get_settings()).first_month
    drops: list[tuple[Month, Path]] = []
    strays: list[Stray] = []
    flat = months_of_files(folder, first, contract)
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or (flat and named_file(path, first, contract)):
            continue
        try:
            entry = _DropRecognizer(first, contract).recognize(path)
        except OSError as error:
            entry = Stray(path.name, f"cannot be looked at: {error.strerror}", "make it readable")
        if isinstance(entry, Stray):
            strays.append(entry)
        else:
            drops.append((entry, path))
    drops += [(month, folder) for month in flat]
    return Listing(tuple(sorted(drops)), tuple(strays))


def find_drops(
    path: Path, settings: Settings | None = None, contract: Contract = CONTRACT
) -> list[tuple[Month | None, Path]]:
    """Return the drops at `path`, by month: the folder itself, its folders, or its files by their months.

    Raises:
        ChurnError: there is no such folder, it cannot be read, or no drop is in it.
    """
    chosen = settings or get_settings()
    first = chosen.first_month
    if not path.is_dir():
        raise ChurnError(f"there is no folder {path}", remedy="give a folder of CSV files")
    try:
        month = month_of(path, first, contract)
        listing = list_drops(path, chosen, contract)
        has_files = any(named_file(each, first, contract) for each in path.iterdir())
        if has_files and (month is not None or not listing.drops):
            return [(month, path)]
    except OSError as error:
        raise ChurnError(
            f"the folder cannot be read: {error.strerror}",
            where=str(path),
            remedy="make it readable",
        ) from error
    if not listing.drops:
        passed_over = "".join(f"\n  {stray}" for stray in listing.strays[:5])
        raise ChurnError(
            f"no drop is in {path}{passed_over}",
            remedy=f"give a folder with {expected_files(contract)}, or a folder of"
            f" {shown(contract.drop_folder)} folders",
        )
    return [*listing.drops]


def is_flat(folder: Path, month: Month, first: Month, contract: Contract = CONTRACT) -> bool:
    """Return whether the month's drop lies in the folder as files, beside those of other months."""
    return month_of(folder, first, contract) is None and month in months_of_files(
        folder, first, contract
    )


def unfinished_files(names: Iterable[str]) -> list[str]:
    """Return those names that copying programs give to files until they are whole."""
    return sorted(
        name
        for name in names
        if name.lower().endswith(_UNFINISHED) or (name.startswith(".") and ".csv" in name.lower())
    )


def name_of_drop(
    month: Month | None, path: Path, drops: Sequence[tuple[Month | None, Path]]
) -> str:
    """Return the name of one of several drops: its folder's, or its month where several share the folder."""
    return path.name if [each for _, each in drops].count(path) == 1 else str(month)


def choose_month(
    folder: Path, month: Month | None, settings: Settings, contract: Contract = CONTRACT
) -> Month:
    """Return the drop's month: the one given, else the one in the folder's name or in all its files' names.

    Raises:
        Refusal: nothing gives the month, or it lies outside of first and last month.
    """
    first = settings.first_month
    chosen = month or month_of(folder, first, contract)
    if chosen is None and folder.is_dir():
        months = months_of_files(folder, first, contract)
        chosen = months[0] if len(months) == 1 else None
    if chosen is None:
        raise Refusal(
            f"the folder's name does not say its month: {shown_name(own_name(folder))}",
            where=str(folder),
            remedy=f"name it {filled(contract.drop_folder, first, first)} (which is {first}) and on, or"
            " give the month",
        )
    last = settings.last_month
    if chosen < first or (last is not None and chosen > last):
        raise Refusal(
            f"{chosen} is outside of the months {first} to {last or 'now'}",
            where=str(folder),
            remedy="correct the folder's name, or CHURN_FIRST_MONTH and CHURN_LAST_MONTH",
            depends_on=["settings"],
        )
    return chosen


@dataclass(frozen=True)
class _DropRecognizer:
    """Tells of each entry in a folder of drops which month it is the drop of, or why it is no drop."""

    first: Month
    contract: Contract

    def recognize(self, path: Path) -> Month | Stray:
        name, lower = path.name, path.name.lower()
        if path.is_symlink() and not path.exists():
            return Stray(name, "is a link to nothing", "remove it, or put the folder there")
        if lower.endswith(_UNFINISHED):
            what = "is still being copied, as its name says"
            return Stray(name, what, "rename it once it is whole, or remove it")
        if not path.is_dir():
            return self._file(path)
        month = month_of(path, self.first, self.contract)
        if month is None:
            return self._folder(name)
        target = month_of(path.resolve(), self.first, self.contract)
        if target not in (None, month):
            what = f"is named as the drop of {month}, but is a link to {path.resolve().name}"
            return Stray(name, what, f"that one is {target}: correct the link or its name")
        return month

    def _file(self, path: Path) -> Stray:
        name, folders = path.name, shown(self.contract.drop_folder)
        if name.lower().endswith(_ARCHIVES):
            month = self._resembled(name)
            folder = self._name(month) if month else folders
            remedy = f"unpack its CSV files into a folder {folder}"
            return Stray(name, "is an archive, which is not read", remedy)
        starts = (file_pattern(each).lower() for each in named_files(self.contract))
        if any(name.lower().startswith(start) for start in starts) or named_file(
            path, self.first, self.contract
        ):
            return Stray(
                name, "lies outside of a drop", f"put it into its month's folder, {folders}"
            )
        remedy = f"a drop is a folder {folders}; remove it, or keep it elsewhere"
        is_alike = self._alike.match(name) is not None
        return Stray(name, "is not a folder", remedy, is_alike=is_alike)

    def _folder(self, name: str) -> Stray:
        what, month = "does not say its month, so it is not read", self._resembled(name)
        if month is None:
            folders = shown(self.contract.drop_folder)
            example = f"{self._name(self.first)} is {self.first}"
            remedy = f"name it {folders} ({example}), or keep it elsewhere"
            return Stray(name, what, remedy, is_alike=False)
        return Stray(name, what, f"if it is the drop of {month}, name it {self._name(month)}")

    def _name(self, month: Month) -> str:
        return filled(self.contract.drop_folder, month, self.first)

    def _resembled(self, name: str) -> Month | None:
        """Return the month that a person may have meant."""
        alike = self._alike.match(name)
        return shifted(self.first, alike[1]) if alike else None

    @property
    def _alike(self) -> re.Pattern[str]:
        """A pattern for names that begin like a drop's folder and hold a number, but are not quite right."""
        before, hole, _ = self.contract.drop_folder.partition("{n}")
        start = re.escape(before.rstrip("_- ")) if hole else "(?!)"
        return re.compile(rf"{start}[^0-9]{{0,2}}([0-9]{{1,4}})(?![0-9])", re.IGNORECASE)
