"""The files of one drop: which it must have, which are here, and which are missing or here twice.

A file belongs to a drop by its name, and where that name holds a month, by this month, too.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

from churn.contract.in_force import CONTRACT
from churn.contract.structure import Contract, SourceFile, Table
from churn.deliveries.patterns import (
    NameMatch,
    file_pattern,
    filled,
    is_dated,
    read_file_name,
    read_name,
    shown,
    shown_name,
)
from churn.deliveries.problems import Problem
from churn.deliveries.selects import tables_read
from churn.months import Month

_DATA = (".csv", ".csv.gz", ".parquet")


@dataclass(frozen=True)
class DropFiles:
    """The files of one drop.

    Args:
        month: the drop's month.
        first: the month whose number is 000.
        contract: the contract that names the files.
        by_name: the paths, by the name of the table whose own file it is, or of the file that selects read.
            Where a name has several paths, none is known to be the right one.
        strange: the data files beside them that belong neither to this drop nor to another month's.
    """

    month: Month
    first: Month
    contract: Contract
    by_name: dict[str, list[Path]]
    strange: tuple[Path, ...]

    @property
    def paths(self) -> set[Path]:
        """Every file."""
        return {path for paths in self.by_name.values() for path in paths}

    @property
    def single(self) -> dict[str, Path]:
        """The paths of the names that have one, by name."""
        return {name: paths[0] for name, paths in self.by_name.items() if len(paths) == 1}

    @functools.cached_property
    def tables(self) -> list[Table]:
        """The tables that are here: their own file is, or every file that their select reads."""
        return [table for table in drop_tables(self.contract) if not self._lacks(table)]

    @property
    def missing(self) -> list[Problem]:
        """A problem for each missing file of the tables that every drop must have.

        Labels may come later than the rest.
        """
        tables, labels = drop_tables(self.contract), self.contract.labels
        may_be_absent = [table for table in tables if table.optional or table == labels]
        names = " and ".join(table.shown_file for table in may_be_absent)
        only = f"; only {names} may be absent" if names else ""
        needed = [table for table in tables if table not in may_be_absent]
        lacking = dict.fromkeys(name for table in needed for name in self._lacks(table))
        return [
            Problem(self._file_name(name), "the file is missing", f"add it{only}")
            for name in lacking
        ]

    @property
    def twice(self) -> list[Problem]:
        """A problem for each name under which several files are here."""
        return [
            Problem(
                self._file_name(name),
                f"lies here more than once, as {' and '.join(shown_name(path.name) for path in paths)}",
                "keep the right one of them",
            )
            for name, paths in self.by_name.items()
            if len(paths) > 1
        ]

    def _lacks(self, table: Table) -> list[str]:
        """Return the files that the table lacks: its own, or those that its select reads."""
        needed = tables_read(table) if table.select is not None else [table.name]
        # A select that is wrong itself is reported by its reader.
        if isinstance(needed, Problem):
            return []
        # A name that the contract does not know is reported by the select's reader, too.
        known = {each.name for each in named_files(self.contract)}
        return sorted(name for name in needed if name in known and name not in self.by_name)

    def _file_name(self, name: str) -> str:
        """Return what a file of the month is called."""
        files = {each.name: each for each in named_files(self.contract)}
        return filled(file_pattern(files[name]), self.month, self.first)


def drop_files(
    folder: Path, month: Month, first: Month, contract: Contract = CONTRACT
) -> DropFiles:
    """Return the files of the month's drop in a folder; case is free, and gzip (`users.csv.gz`) is allowed.

    Args:
        folder: where they lie.
        month: the drop's month; files whose names give another month are not part of it.
        first: the month whose number is 000.
        contract: the contract that names them.

    Raises:
        OSError: the folder cannot be listed.
    """
    files: dict[str, list[Path]] = {}
    entries = sorted(folder.iterdir())
    for each in named_files(contract):
        for path in entries:
            named = read_file_name(file_pattern(each), path.name, first)
            if named is not None and named.month in (None, month) and path.is_file():
                files.setdefault(each.name, []).append(path)
    own = {path for paths in files.values() for path in paths}
    holds_one_drop = month_of(folder, first, contract) is not None
    strange = [
        path
        for path in entries
        if path.name.lower().endswith(_DATA)
        and path not in own
        and (holds_one_drop or not named_file(path, first, contract))
    ]
    return DropFiles(month, first, contract, files, tuple(strange))


def drop_tables(contract: Contract = CONTRACT) -> list[Table]:
    """Return the tables that drops bring: all but labels that are derived from the next month."""
    are_derived = contract.label.kind != "file"
    return [table for table in contract.tables if not (are_derived and table == contract.labels)]


def named_files(contract: Contract = CONTRACT) -> list[Table | SourceFile]:
    """Return whatever has a file of its own: tables, and the files that selects read."""
    tables = [table for table in drop_tables(contract) if table.select is None]
    return [*tables, *contract.source_files]


def expected_files(contract: Contract = CONTRACT) -> str:
    """Return the names of a drop's files, for messages."""
    return ", ".join(shown(file_pattern(each)) for each in named_files(contract))


def named_file(path: Path, first: Month, contract: Contract = CONTRACT) -> NameMatch | None:
    """Return the match of a file's name with any file of a drop; None where it matches none."""
    names = (read_file_name(file_pattern(each), path.name, first) for each in named_files(contract))
    named = next((each for each in names if each is not None), None)
    return named if named is not None and path.is_file() else None


def month_of(folder: Path, first: Month, contract: Contract = CONTRACT) -> Month | None:
    """Return the month that the folder's own name gives, wherever a link leads; None where it gives none."""
    named = read_name(contract.drop_folder, own_name(folder), first)
    return named.month if named else None


def months_of_files(folder: Path, first: Month, contract: Contract = CONTRACT) -> list[Month]:
    """Return the months that the names of a folder's files give, in order."""
    if not any(is_dated(file_pattern(each)) for each in named_files(contract)):
        return []
    named = (named_file(path, first, contract) for path in folder.iterdir())
    return sorted({each.month for each in named if each is not None and each.month is not None})


def own_name(folder: Path) -> str:
    """Return the name by which the folder was given, not that of a link's target."""
    return folder.name if folder.name not in ("", "..") else folder.resolve().name
