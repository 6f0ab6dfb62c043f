"""The deliveries store: accepted files byte for byte, named by their sha256 and verified when read back.

For a selected table, the store keeps the files that its select reads, each once, and a list of them that
stands for the delivery.
"""

import dataclasses
import functools
import hashlib
import json
from pathlib import Path

import pyarrow as pa

from churn.contract.in_force import CONTRACT
from churn.contract.structure import Contract, Table
from churn.contract.translation import dialects_of, translated_by
from churn.deliveries.contents import LIST_SUFFIX, Content, Contents, is_read_as_it_stands
from churn.deliveries.files import sha256_of
from churn.deliveries.ledger import Delivery
from churn.deliveries.problems import Problem, Refusal, RefusedDrop
from churn.files import replacing
from churn.settings import Settings, get_settings

_BLOCK = 8 << 20
_OTHER_CONTRACT = (
    "the file is as it was taken in, but the contract has changed since: let it allow again what the file"
    " holds, or deliver a corrected drop of that month, which takes its place"
)


def keep(source: Path, path: Path, sha256: str) -> None:
    """Copy a file durably: whole or not at all, even if the machine stops meanwhile.

    Raises:
        Refusal: the file is no longer the one that was validated, or the store cannot be written.
    """
    try:
        _keep(source, path, sha256)
    except OSError as error:
        raise _no_room(path, error) from error


def keep_content(content: bytes, path: Path) -> None:
    """Write a file of our own durably, as `keep` copies one; the same content that is there already stays.

    Raises:
        Refusal: the store cannot be written.
    """
    sha256 = hashlib.sha256(content).hexdigest()
    if holds(path, sha256):
        return
    source = path.with_suffix(".new")
    try:
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_bytes(content)
        keep(source, path, sha256)
    except OSError as error:
        raise _no_room(path, error) from error
    finally:
        source.unlink(missing_ok=True)


def _no_room(path: Path, error: OSError) -> Refusal:
    return Refusal(
        f"the store cannot be written: {error.strerror}",
        where=str(path),
        remedy="give it room and rights, then deliver the folder again; nothing of it was taken in",
        depends_on=["access"],
    )


def _keep(source: Path, path: Path, sha256: str) -> None:
    copied = hashlib.sha256()
    # Deliveries come one at a time, so the name may be fixed: the next one overwrites what a killed one left.
    unfinished = path.with_suffix(".unfinished")
    with replacing(path, durable=True, unfinished=unfinished) as new:
        with source.open("rb") as original, new.open("wb") as file:
            while block := original.read(_BLOCK):
                copied.update(block)
                file.write(block)
        if copied.hexdigest() != sha256:
            raise Refusal(
                "the file changed while it was being delivered",
                where=str(source),
                remedy="deliver the folder again once it is complete; nothing of it was taken in",
            )
        new.chmod(0o444)


def holds(path: Path, sha256: str) -> bool:
    """Return whether the file is there and has this content."""
    return path.is_file() and sha256_of(path) == sha256


def is_whole(store: Path, stored_path: str, sha256: str) -> bool:
    """Return whether every file of a delivery is there, as it was accepted."""
    path = store / stored_path
    if not holds(path, sha256):
        return False
    return all(holds(store / kept, known) for _, kept, known in listed_files(path))


def read_accepted(
    delivery: Delivery, settings: Settings | None = None, contract: Contract = CONTRACT
) -> pa.Table:
    """Return the typed rows of an accepted file, after checking its sha256 and its rules.

    It is translated as it was when it was accepted, whatever the contract in force says about names, dialects
    and selects. Columns that the contract has gained since are null.

    Raises:
        RefusedDrop: the stored file is gone, was altered, or breaks a rule.
    """
    store = (settings or get_settings()).deliveries
    path = store / delivery.stored_path
    table = _as_accepted(contract.table_by_name[delivery.file])
    where = f"{table.shown_file} {delivery.month}, stored as {path}"
    remedy = (
        "deliver the original file again, which restores it, or restore the store from a backup"
    )
    try:
        content = _stored_content(delivery, table, store, contract)
    except FileNotFoundError:
        gone = Problem(table.shown_file, "the stored file is missing", remedy, depends_on="access")
        raise RefusedDrop([gone], where=where, remedy=remedy) from None
    problems: list[Problem] = []
    if content.sha256 != delivery.sha256:
        actual = f"the stored file was altered: its sha256 is {content.sha256[:12]}…"
        what = f"{actual}, not the accepted one"
        value = f"{delivery.sha256[:12]}…"
        problems.append(Problem(table.shown_file, what, remedy, value=value, depends_on="access"))
    elif content.problems:
        # The file is whole, and it was sound when it was accepted.
        where = f"{where}, read by the contract {contract.name} ({contract.source or 'as given'})"
        remedy = _OTHER_CONTRACT
    problems += content.problems
    if problems or content.reading is None or content.reading.rows is None:
        raise RefusedDrop(problems, where=where, remedy=remedy)
    return content.reading.rows


@functools.cache
def _as_accepted(table: Table) -> Table:
    """Return the table as a file accepted under an earlier contract may have it.

    Columns that the contract has gained since are not in the file, and are null.
    """
    key, *values = table.columns
    relaxed = (dataclasses.replace(column, optional=True, required=False) for column in values)
    return dataclasses.replace(table, columns=(key, *relaxed))


def stored_rows(delivery: Delivery, settings: Settings | None = None) -> pa.Table | None:
    """Return the typed rows of an accepted file; None where it is missing or not as it was accepted.

    A canonical file is not checked against its rules again, which would take longer than reading it.
    """
    from churn.deliveries.read_csv import read_csv

    store = (settings or get_settings()).deliveries
    path, table = store / delivery.stored_path, _as_accepted(delivery.table)
    if not path.is_file():
        return None
    of_then = translated_by(delivery.translation, table)[0] if delivery.translation else table
    if is_read_as_it_stands(of_then):
        reading = read_csv(path, table)
        return reading.rows if reading.sha256 == delivery.sha256 else None
    try:
        return read_accepted(delivery, settings)
    except RefusedDrop:
        return None


def _stored_content(delivery: Delivery, table: Table, store: Path, contract: Contract) -> Content:
    path = store / delivery.stored_path
    paths = {name: store / kept for name, kept, _ in listed_files(path)} or {table.name: path}
    of_then, dialects = table, dialects_of(contract)
    if delivery.translation is not None:
        of_then, dialects = translated_by(delivery.translation, table)
    return Contents(dialects, delivery.month, paths).of(table, of_then)


def listed_files(path: Path) -> list[tuple[str, str, str]]:
    """Return name, stored path and sha256 of each file in a list; nothing for any other path."""
    if not path.name.endswith(LIST_SUFFIX):
        return []
    try:
        files = json.loads(path.read_bytes())["files"]
        return [(file["name"], file["path"], file["sha256"]) for file in files]
    except (ValueError, KeyError, TypeError):
        # The list was altered, which its sha256 shows.
        return []
