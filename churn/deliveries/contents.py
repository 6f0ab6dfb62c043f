"""What the files of one drop hold, table by table: read as they stand, translated first, or selected.

A canonical file is read as it stands. Any other table is made from the delivered files whenever it is read,
so nothing but the delivered files has to be kept.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from churn.contract.structure import CANONICAL, LABEL_TABLE, Dialect, Table
from churn.deliveries.files import Reading, is_compressed
from churn.deliveries.problems import Problem
from churn.deliveries.selects import named, select, tables_read
from churn.deliveries.shape import Shaped, as_delivered, shape
from churn.deliveries.texts import Texts, read_texts
from churn.months import Month

LIST_SUFFIX = ".sources.json"
# The store's folder for files that several tables may be made of.
_SHARED = "files"


@dataclass(frozen=True)
class KeptFile:
    """One delivered file, and where it is kept.

    Args:
        name: the name of its table, or of the file that selects read.
        path: where it is now.
        stored_path: where it is kept, relative to the store.
    """

    name: str
    path: Path
    sha256: str
    stored_path: str


@dataclass(frozen=True)
class Content:
    """What a table holds in a drop.

    Args:
        reading: its typed rows; None where no row can be read.
        problems: what is wrong with them; none in an accepted drop.
        copies: the files that they are made from.
        sha256: the hash of the table's own file, or of the list of files that its select reads.
        stored_path: where that file or list is kept.
        sources: the list, as it is kept; empty where the table has a file of its own.
    """

    reading: Reading | None
    problems: tuple[Problem, ...]
    copies: tuple[KeptFile, ...] = ()
    sha256: str = ""
    stored_path: str = ""
    sources: bytes = b""


class Contents:
    """The files of one month's drop, wherever they are; a file that several selects read is read once."""

    def __init__(
        self, dialects: Mapping[str, Dialect], month: Month, paths: Mapping[str, Path]
    ) -> None:
        """Keep the files' paths and dialects, both by the name of the table or of the selects' file."""
        self._month = month
        self._paths = paths
        self._dialects = dialects
        self._read: dict[str, tuple[Texts, KeptFile]] = {}

    def of(self, table: Table, of_then: Table | None = None) -> Content:
        """Return what a table holds.

        Args:
            table: the table, with the rules that its rows are checked against.
            of_then: the table as an earlier contract had it, where its files are translated by that one.

        Raises:
            OSError: a file cannot be read.
        """
        of_then = of_then or table
        if of_then.select is not None:
            return self._selected(table, of_then)
        return self._own(table, of_then, self._paths[table.name])

    def _own(self, table: Table, of_then: Table, path: Path) -> Content:
        # Imported late, since it loads pandas and pandera.
        from churn.deliveries.rules import load

        if is_read_as_it_stands(of_then):
            reading, problems = load(path, table)
            if not table.is_canonical:
                problems = as_delivered(problems, of_then, path.name)
            return self._content(reading, problems, path, table.name, reading.sha256)
        content = path.read_bytes()
        shaped = shape(content, of_then, path.name)
        sha256 = hashlib.sha256(content).hexdigest()
        del content
        shaped_reading, problems = _loaded(shaped, table, of_then, path.name)
        return self._content(shaped_reading, problems, path, table.name, sha256)

    def _content(
        self, reading: Reading | None, problems: list[Problem], path: Path, name: str, sha256: str
    ) -> Content:
        copy = self._copy(name, path, sha256, folder=name)
        return Content(reading, tuple(problems), (copy,), sha256, copy.stored_path)

    def _selected(self, table: Table, of_then: Table) -> Content:
        names = tables_read(of_then)
        if isinstance(names, Problem):
            return Content(None, (names,))
        if LABEL_TABLE in names and table.name != LABEL_TABLE:
            what = "the select reads the labels, which are known a month later"
            return Content(None, (Problem(named(table), what, "leave them out of it"),))
        unknown = sorted(names - set(self._dialects))
        if unknown:
            what = f"the select reads {', '.join(unknown)}, which is no file of the contract"
            known = ", ".join(sorted(self._dialects)) or "none"
            problem = Problem(named(table), what, f"it may read {known}; add others under files:")
            return Content(None, (problem,))
        read = {name: self._texts(name) for name in sorted(names)}
        texts = {name: (text, self._dialects[name]) for name, (text, _) in read.items()}
        copies = tuple(copy for _, copy in read.values())
        shaped = select(of_then, texts, self._month)
        reading, problems = _loaded(shaped, table, of_then, named(table))
        problems = [replace(problem, row=None) if problem.file == named(table) else problem
                    for problem in problems]  # fmt: skip
        sources = sources_text(copies)
        sha256 = hashlib.sha256(sources).hexdigest()
        path = f"{self._month}/{table.name}/{sha256}{LIST_SUFFIX}"
        return Content(reading, tuple(problems), copies, sha256, path, sources)

    def _texts(self, name: str) -> tuple[Texts, KeptFile]:
        if name not in self._read:
            # The contract's select has since been changed to read other files.
            if name not in self._paths:
                raise FileNotFoundError(name)
            path, dialect = self._paths[name], self._dialects[name]
            content = path.read_bytes()
            copy = self._copy(name, path, hashlib.sha256(content).hexdigest(), folder=_SHARED)
            self._read[name] = read_texts(content, dialect, path.name), copy
        return self._read[name]

    def _copy(self, name: str, path: Path, sha256: str, folder: str) -> KeptFile:
        suffix = _suffix(path, self._dialects[name])
        return KeptFile(name, path, sha256, f"{self._month}/{folder}/{sha256}{suffix}")


def is_read_as_it_stands(table: Table) -> bool:
    """Return whether a table's file is canonical in everything but, perhaps, its name."""
    return (
        table.select is None
        and table.dialect == CANONICAL
        and all(column.source_name == column.name for column in table.columns)
    )


def as_named(problems: list[Problem], table: Table, content: Content) -> list[Problem]:
    """Return problems of a canonical file in terms of what was delivered."""
    if table.select is not None:
        return [replace(problem, file=named(table), row=None) for problem in problems]
    if table.is_canonical:
        return problems
    return as_delivered(problems, table, content.copies[0].path.name)


def sources_text(copies: tuple[KeptFile, ...]) -> bytes:
    """Return the list of the files that a select read, in the bytes that are kept and hashed."""
    files = [
        {"name": copy.name, "sha256": copy.sha256, "path": copy.stored_path} for copy in copies
    ]
    return (json.dumps({"files": files}, indent=1) + "\n").encode()


def _loaded(
    shaped: Shaped, table: Table, of_then: Table, file: str
) -> tuple[Reading | None, list[Problem]]:
    """Read the canonical file that was made from the delivered ones, and check it against the rules."""
    from churn.deliveries.rules import load

    if shaped.content is None:
        return None, list(shaped.problems)
    reading, problems = load(shaped.content, table)
    named_already = {(problem.column, problem.what) for problem in shaped.problems}
    more = as_delivered(problems, of_then, file)
    return reading, [
        *shaped.problems,
        *(problem for problem in more if (problem.column, problem.what) not in named_already),
    ]


def _suffix(path: Path, dialect: Dialect) -> str:
    if dialect.format == "parquet":
        return ".parquet"
    return ".csv.gz" if is_compressed(path) else ".csv"
