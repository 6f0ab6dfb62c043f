"""Reading one drop and validating it as a whole, before anything is written."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from churn.contract.in_force import CONTRACT
from churn.contract.structure import Contract, Table
from churn.contract.translation import dialects_of, translation
from churn.deliveries.contents import Contents, KeptFile, as_named
from churn.deliveries.drop_files import drop_files, expected_files
from churn.deliveries.oddities import oddities, oddities_beside
from churn.deliveries.patterns import shown_name
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
    if files.tables == [labels]:
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
        findings.problems += files.missing
    findings.problems += files.twice
    contents = Contents(dialects_of(contract), month, files.single)
    for table in files.tables:
        # A select may read one of the files that are here twice.
        is_certain = table.name in files.single if table.select is None else not files.twice
        if is_certain:
            _read_table(contents, table, month, findings)
    if findings.problems or findings.strangers:
        raise RefusedDrop([*findings.problems, *findings.strangers], where=f"{folder} ({month})")
    strange = [
        Oddity(shown_name(path.name), "", "not a file of a drop: not read", 1, 1)
        for path in files.strange
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
