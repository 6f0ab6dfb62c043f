"""The deliveries store: accepted files byte for byte, named by their sha256, read back with care."""

import dataclasses
import functools
import hashlib
import os
from pathlib import Path

import pyarrow as pa

from churn.contract.tables import Table
from churn.deliveries.ledger import Delivery
from churn.deliveries.problems import Problem, Refusal, RefusedDrop
from churn.deliveries.reading import sha256_of
from churn.months import Month
from churn.settings import Settings, get_settings

_BLOCK = 8 << 20


def stored_path(month: Month, table: Table, sha256: str, *, compressed: bool = False) -> str:
    """Return where a file is kept, relative to the store."""
    return f"{month}/{table.name}/{sha256}.csv{'.gz' if compressed else ''}"


def keep(source: Path, path: Path, sha256: str) -> None:
    """Copy a file durably: whole or not at all, even if the machine stops meanwhile.

    Deliveries are serial, so the name of the unfinished file is free to be fixed: what a killed
    delivery leaves behind, the next one overwrites.

    Raises:
        Refusal: the file is no longer the one that was validated, or the store cannot be written.
    """
    try:
        _keep(source, path, sha256)
    except OSError as error:
        raise Refusal(
            f"the store cannot be written: {error.strerror}",
            where=str(path),
            remedy="give it room and rights, then deliver the folder again; nothing of it was taken in",
            depends_on=["access"],
        ) from error


def _keep(source: Path, path: Path, sha256: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    copied = hashlib.sha256()
    with source.open("rb") as original, unfinished.open("wb") as file:
        while block := original.read(_BLOCK):
            copied.update(block)
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    if copied.hexdigest() != sha256:
        unfinished.unlink()
        raise Refusal(
            "the file changed while it was being delivered",
            where=str(source),
            remedy="deliver the folder again once it is complete; nothing of it was taken in",
        )
    unfinished.chmod(0o444)
    unfinished.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def holds(path: Path, sha256: str) -> bool:
    """Return whether the file is there and has this content."""
    return path.is_file() and sha256_of(path) == sha256


def read_accepted(delivery: Delivery, settings: Settings | None = None) -> pa.Table:
    """Return the typed rows of an accepted file, after holding it against its sha256 and rules.

    Columns that the contract has got since then are null.

    Raises:
        RefusedDrop: the stored file is gone, was altered, or breaks a rule.
    """
    from churn.deliveries.rules import load

    path = (settings or get_settings()).deliveries / delivery.stored_path
    file = delivery.table.file
    where = f"{file} {delivery.month}, stored as {path}"
    remedy = (
        "deliver the original file again, which restores it, or restore the store from a backup"
    )
    try:
        reading, broken = load(path, _as_accepted(delivery.table))
    except FileNotFoundError:
        gone = Problem(file, "the stored file is missing", remedy, depends_on="access")
        raise RefusedDrop([gone], where=where, remedy=remedy) from None
    problems: list[Problem] = []
    if reading.sha256 != delivery.sha256:
        found = f"the stored file was altered: its sha256 is {reading.sha256[:12]}…"
        what = f"{found}, not the accepted one"
        value = f"{delivery.sha256[:12]}…"
        problems.append(Problem(file, what, remedy, value=value, depends_on="access"))
    problems += broken
    if problems or reading.rows is None:
        raise RefusedDrop(problems, where=where, remedy=remedy)
    return reading.rows


@functools.cache
def _as_accepted(table: Table) -> Table:
    """Return the table as a file that passed the door, by the contract of its time, may have it.

    A column that the contract has got since then is not in the file, and null.
    """
    key, *values = table.columns
    relaxed = (dataclasses.replace(column, optional=True, required=False) for column in values)
    return dataclasses.replace(table, columns=(key, *relaxed))
