"""Reading one drop and validating it as a whole, before anything is written."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from churn.contract.in_force import CONTRACT
from churn.contract.structure import Contract, Table
from churn.contract.translation import dialects_of, translation
from churn.deliveries.contents import Contents, KeptFile, as_named
from churn.deliveries.drops import (
    DropFiles,
    drop_files,
    drop_tables,
    expected_files,
    shown_name,
    strange_files,
)
from churn.deliveries.oddities import oddities, oddities_beside
from churn.deliveries.patterns import file_pattern, filled
from churn.deliveries.problems import Oddity, Problem, Refusal, RefusedDrop
from churn.deliveries.rules import Users, strangers
from churn.fingerprint import fingerprint
from churn.months import Month
from churn.settings import get_settings


@dataclass(frozen=True)
class DropFile:
    """One sound table of a drop.

    Args:
        copies: the delivered files that it is made from.
        sha256: the hash of its own file, or of the list of files that its select reads.
        stored_path: where that file or list is kept.
        translation: the parts of the contract by which the files were read.
        sources: that list; empty where there is none.
    """

    table: Table
    copies: tuple[KeptFile, ...]
    rows: int
    sha256: str
    fingerprint: str
    stored_path: str
    translation: str
    sources: bytes = b""


@dataclass(frozen=True)
class Drop:
    """A sound drop: its files, and what is odd about them."""

    files: tuple[DropFile, ...]
    oddities: tuple[Oddity, ...]


@dataclass
class _Findings:
    """What the files that were read so far have brought to light.

    Args:
        are_users_accepted: the users come from accepted deliveries, not from this drop.
    """

    contract: Contract
    problems: list[Problem] = field(default_factory=list)
    strangers: list[Problem] = field(default_factory=list)
    oddities: list[Oddity] = field(default_factory=list)
    files: list[DropFile] = field(default_factory=list)
    users: Users | None = None
    are_users_accepted: bool = False


def read_drop(
    folder: Path,
    month: Month,
    known_users: Callable[[], pa.Array | None],
    contract: Contract = CONTRACT,
    first: Month | None = None,
) -> Drop:
    """Read a drop and check it against all rules; memory holds the rows of one table at a time.

    Args:
        folder: the folder of its files.
        month: the month that the drop describes.
        known_users: returns the accepted users of the month, or None where there are none; called where
            labels come alone.
        contract: what the drop is checked against.
        first: the month whose number is 000; by default the one of the settings.

    Raises:
        RefusedDrop: a file is missing or breaks a rule, or the files contradict each other.
        Refusal: the folder holds no drop, or cannot be listed.
    """
    first = first or get_settings().first_month
    try:
        files = drop_files(folder, month, first, contract)
    except OSError as error:
        what = f"the folder cannot be listed: {error.strerror}"
        remedy = "make it a folder that can be read"
        raise Refusal(what, where=str(folder), remedy=remedy, depends_on=["access"]) from error
    if not files.by_name:
        raise Refusal(
            "no file of a drop is here",
            where=str(folder),
            remedy=f"expected: {expected_files(contract)}",
        )
    findings = _Findings(contract)
    labels, users = contract.labels, contract.users
    present = files.tables
    if present == [labels]:
        ids = known_users()
        findings.users = None if ids is None else Users(ids)
        findings.are_users_accepted = True
        if ids is None:
            what = f"no {users.shown_file} of {month} has been accepted, which labels alone need"
            remedy = "deliver the whole drop"
            findings.problems.append(
                Problem(labels.shown_file, what, remedy, depends_on="deliveries")
            )
    else:
        findings.problems += _missing(files, month, first)
    twice = {name: paths for name, paths in files.by_name.items() if len(paths) > 1}
    for name, paths in twice.items():
        names = " and ".join(shown_name(path.name) for path in paths)
        file = _file_name(contract, name, month, first)
        what = f"lies here more than once, as {names}"
        findings.problems.append(Problem(file, what, "keep the right one of them"))
    ones = {name: paths[0] for name, paths in files.by_name.items() if name not in twice}
    contents = Contents(dialects_of(contract), month, ones)
    for table in present:
        if twice and table.select is not None:
            # The select may read one of the files that are here twice.
            continue
        if table.name not in twice:
            _read_table(contents, table, month, findings)
    if findings.problems or findings.strangers:
        raise RefusedDrop([*findings.problems, *findings.strangers], where=f"{folder} ({month})")
    strange = [
        Oddity(shown_name(path.name), "", "not a file of a drop: not read", 1, 1)
        for path in strange_files(files, folder, first)
    ]
    return Drop(tuple(findings.files), (*findings.oddities, *strange))


def _read_table(contents: Contents, table: Table, month: Month, findings: _Findings) -> None:
    try:
        content = contents.of(table)
    except OSError as error:
        what = f"the file cannot be read: {error.strerror}"
        findings.problems.append(
            Problem(table.shown_file, what, "make it readable", depends_on="access")
        )
        return
    reading = content.reading
    findings.problems += [each for each in content.problems if each not in findings.problems]
    if reading is None:
        return
    rows = reading.rows
    if rows is None:
        return
    by_user = reading.by_user
    is_population = table == findings.contract.users
    if is_population:
        findings.users = Users(rows["user_id"]) if by_user is None else Users.of(by_user)
    elif findings.users is not None:
        strange = as_named(strangers(reading, table, findings.users), table, content)
        # A correction of users.csv may yet add them.
        if findings.are_users_accepted:
            strange = [replace(problem, depends_on="deliveries") for problem in strange]
        findings.strangers += strange
    if findings.problems or findings.strangers or by_user is None:
        # The drop is refused by now, so nothing further is worked out.
        return
    findings.oddities += oddities(table, rows, month)
    if not is_population and findings.users is not None:
        findings.oddities += oddities_beside(findings.users, table, by_user, month)
    findings.files.append(
        DropFile(
            table,
            content.copies,
            rows.num_rows,
            content.sha256,
            fingerprint(rows, order=by_user.order),
            content.stored_path,
            translation(findings.contract, table, [copy.name for copy in content.copies]),
            content.sources,
        )
    )


def _may_be_absent(table: Table, contract: Contract) -> bool:
    """Return whether a drop may come without a table; labels may come later than the rest."""
    return table.optional or table == contract.labels


def _missing(files: DropFiles, month: Month, first: Month) -> list[Problem]:
    """Return a problem for each missing file of the tables that every drop must have."""
    contract = files.contract
    optional = [
        table.shown_file for table in drop_tables(contract) if _may_be_absent(table, contract)
    ]
    only = f"; only {' and '.join(optional)} may be absent" if optional else ""
    missing = (
        files.missing(table)
        for table in drop_tables(contract)
        if not _may_be_absent(table, contract)
    )
    names = dict.fromkeys(itertools.chain.from_iterable(missing))
    return [
        Problem(_file_name(contract, name, month, first), "the file is missing", f"add it{only}")
        for name in names
    ]


def _file_name(contract: Contract, name: str, month: Month, first: Month) -> str:
    """Return what a file of the month is called."""
    files = {file.name: file for file in contract.source_files} | contract.table_by_name
    return filled(file_pattern(files[name]), month, first)
