"""Accepting a drop: validate it whole, keep its files, record its deliveries; all of it or nothing."""

import contextlib
import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psycopg
import pyarrow as pa

from churn.contract.in_force import CONTRACT
from churn.contract.structure import Contract, Table
from churn.database import connect, lock
from churn.deliveries.derived_labels import derive_around
from churn.deliveries.drop import DropFile, read_drop
from churn.deliveries.drops import choose_month
from churn.deliveries.erased import Erased, read_erased, without_erased
from churn.deliveries.known_at import known_at as known_at_of
from churn.deliveries.known_at import minute
from churn.deliveries.ledger import (
    Delivery,
    accepted,
    blocked,
    has_begun,
    keep_first_month,
    mark_unloadable,
    record,
)
from churn.deliveries.problems import Oddity, Refusal, RefusedDrop
from churn.deliveries.store import holds, is_whole, keep, keep_content, read_accepted
from churn.fingerprint import fingerprint
from churn.months import Month
from churn.settings import Settings, get_settings

State = Literal["accepted", "corrected", "unchanged"]


@dataclass(frozen=True)
class FileOutcome:
    """What became of one file: a first version, a correction, or content that was there already.

    Args:
        delivery: the version that is now in force.
    """

    state: State
    delivery: Delivery


@dataclass(frozen=True)
class DeliveryOutcome:
    """What became of a drop that was not refused.

    Args:
        files: the drop's own, and the labels of this month and the one before that were derived from it.
    """

    month: Month
    files: tuple[FileOutcome, ...]
    oddities: tuple[Oddity, ...]

    @property
    def is_changed(self) -> bool:
        """Whether the drop brought anything new."""
        return any(file.state != "unchanged" for file in self.files)


@dataclass(frozen=True)
class _DeliveryTime:
    """The month that is delivered, when, and what the caller said of when it was known."""

    month: Month
    now: dt.datetime
    given: dt.datetime | None
    history: bool
    contract: Contract


@dataclass(frozen=True)
class _FilePlan:
    """What is to be done with one file.

    Args:
        newest: the version that is in force so far.
        known_at: when the new version was known; None where its content is there already.
    """

    file: DropFile
    newest: Delivery | None
    known_at: dt.datetime | None


def deliver(
    folder: Path,
    *,
    now: dt.datetime,
    settings: Settings | None = None,
    month: Month | None = None,
    known_at: dt.datetime | None = None,
    history: bool = False,
    contract: Contract = CONTRACT,
) -> DeliveryOutcome:
    """Accept a drop, or refuse it; a refused drop changes nothing.

    Content that is there already makes no new version, unless the contract has come to read other rows
    from the same files.

    Args:
        folder: the folder of the drop's files.
        now: the time of delivery.
        settings: where the store is and which months there are; the environment's by default.
        month: the drop's month, where the folder's name does not give it.
        known_at: when the content was known, where that is not the time of delivery.
        history: the drop is part of a load of history, and counts as having come on time.
        contract: what the drop is checked against.

    Raises:
        RefusedDrop: the drop breaks a rule; every problem is listed.
        Refusal: the folder holds no drop, its month is not one of ours, or it comes too early.
        ChurnError: known_at, or CHURN_FIRST_MONTH, contradicts what was delivered before.
    """
    settings = settings or get_settings()
    if now.tzinfo is None:
        raise ValueError("the time of delivery needs a time zone")
    with connect() as connection:
        keep_first_month(connection, settings.first_month)
        erased = read_erased(connection)
    chosen = choose_month(folder, month, settings, contract)
    _refuse_far_ahead(chosen, now, folder)
    when = _DeliveryTime(chosen, now, known_at, history, contract)
    with without_erased(
        folder, chosen, settings.first_month, contract, erased, settings.home
    ) as cleaned:
        return _take_in(cleaned, when, settings, erased)


def _take_in(
    folder: Path, when: _DeliveryTime, settings: Settings, erased: Erased | None
) -> DeliveryOutcome:
    """Read a drop whole, then keep its files and record them in one transaction."""
    chosen, now, contract = when.month, when.now, when.contract
    drop = read_drop(
        folder,
        chosen,
        lambda: _known_users(chosen, settings, contract),
        contract,
        settings.first_month,
    )
    with connect() as connection:
        lock(connection, "churn.deliveries")
        if read_erased(connection) != erased:
            raise Refusal(
                "somebody was erased while the drop was being read",
                where=f"{folder} ({chosen})",
                remedy="deliver it again; it is taken in without them",
                depends_on=["access"],
            )
        planned = [_plan(connection, file, when, settings) for file in drop.files]
        files = [_take(connection, plan, when, settings.deliveries) for plan in planned]
        derived = derive_around(connection, chosen, now=now, settings=settings, contract=contract)
    files += [
        FileOutcome("corrected" if each.is_correction else "accepted", each.delivery)
        for each in derived
        if each.delivery is not None
    ]
    waiting = [each.oddity for each in derived if each.oddity is not None]
    return DeliveryOutcome(chosen, tuple(files), (*drop.oddities, *waiting))


def _refuse_far_ahead(month: Month, now: dt.datetime, folder: Path) -> None:
    """Refuse the drop of a month that has not begun, unread: most likely its name is wrong."""
    if now.astimezone(dt.UTC).date() < month.first_day:
        raise Refusal(
            f"{month} has not begun (it is {minute(now)})",
            where=str(folder),
            remedy="correct the folder's name; it is looked at again when that month has closed",
            depends_on=["time"],
            until=month.as_of,
        )


def _plan(
    connection: psycopg.Connection, file: DropFile, when: _DeliveryTime, settings: Settings
) -> _FilePlan:
    versions = accepted(when.month, file.table, connection)
    newest = versions[-1] if versions else None
    if newest is not None and _is_there(file, newest, settings, when.contract):
        return _FilePlan(file, newest, None)
    impossible = blocked(when.month, file.table, connection)
    usable = [
        version
        for version in versions
        if version.unloadable is None and version.delivery_id not in impossible
    ]
    known = known_at_of(
        when.month,
        file.table,
        now=when.now,
        given=when.given,
        history=when.history,
        # Where no version could be used, nothing was known yet: the one that mends the month is the first.
        earlier=[version.known_at for version in versions] if usable else [],
        next_has_begun=has_begun(when.month.next, file.table, connection),
    )
    # A version that replaces an unusable one comes after it, whatever time is declared.
    known = max([known, *(version.known_at for version in versions)])
    return _FilePlan(file, newest, known)


def _is_there(file: DropFile, newest: Delivery, settings: Settings, contract: Contract) -> bool:
    """Return whether the newest version has this content and can be loaded, so that no new one is needed."""
    if newest.fingerprint != file.fingerprint and not _is_same_by_now(
        file, newest, settings, contract
    ):
        return False
    is_here = is_whole(settings.deliveries, newest.stored_path, newest.sha256)
    # Loading a whole file again that could not be loaded would fail again.
    if newest.unloadable is not None:
        return is_here and file.sha256 == newest.sha256
    # A stored file that was lost or altered is restored from this one.
    return is_here or file.sha256 == newest.sha256


def _is_same_by_now(
    file: DropFile, newest: Delivery, settings: Settings, contract: Contract
) -> bool:
    """Return whether the newest version, read as it was then, has this content; newer columns are null.

    The same files are the same content, unless the contract now reads them in another way.
    """
    is_same_file = file.sha256 == newest.sha256
    if is_same_file and newest.translation in (None, file.translation):
        return True
    if file.rows != newest.rows:
        return False
    try:
        # The comparison below reads the stored file, so it has to be there.
        if is_same_file:
            _restore(file, newest, settings.deliveries)
        return fingerprint(read_accepted(newest, settings, contract)) == file.fingerprint
    except RefusedDrop:
        return False


def _take(
    connection: psycopg.Connection, plan: _FilePlan, when: _DeliveryTime, store: Path
) -> FileOutcome:
    file, newest = plan.file, plan.newest
    if plan.known_at is None and newest is not None:
        _restore(file, newest, store)
        return FileOutcome("unchanged", newest)
    # The files come before the row, so that every row has its files.
    _keep_files(file, store)
    _pass_over_blocked(connection, file.table, when.month)
    row = {
        "month": when.month.first_day,
        "file": file.table.name,
        "sha256": file.sha256,
        "fingerprint": file.fingerprint,
        "rows": file.rows,
        "accepted_at": when.now,
        "known_at": plan.known_at,
        "stored_path": file.stored_path,
        "translation": file.translation,
    }
    return FileOutcome("corrected" if newest else "accepted", record(connection, row))


def _pass_over_blocked(connection: psycopg.Connection, table: Table, month: Month) -> None:
    """Mark impossible versions as never known: another version takes their place."""
    for delivery_id, what in blocked(month, table, connection).items():
        mark_unloadable(connection, delivery_id, f"it cannot be: {what}")


def _keep_files(file: DropFile, store: Path) -> None:
    """Keep the files as they were delivered; a file that several tables are made of is kept once."""
    for copy in file.copies:
        path = store / copy.stored_path
        if not (file.sources and holds(path, copy.sha256)):
            keep(copy.path, path, copy.sha256)
    if file.sources:
        keep_content(file.sources, store / file.stored_path)


def _restore(file: DropFile, delivery: Delivery, store: Path) -> None:
    """Write the stored file again where it was lost or altered, and this is the original."""
    is_original = file.sha256 == delivery.sha256
    if is_original and not is_whole(store, delivery.stored_path, delivery.sha256):
        _keep_files(file, store)


def _known_users(month: Month, settings: Settings, contract: Contract) -> pa.Array | None:
    """Return the users of every version that can be read; None where there is none.

    Raises:
        RefusedDrop: the newest version cannot be read.
    """
    versions = [
        version for version in accepted(month, contract.users) if version.unloadable is None
    ]
    if not versions:
        return None
    ids = [read_accepted(versions[-1], settings, contract)["user_id"]]
    for version in versions[:-1]:
        with contextlib.suppress(RefusedDrop):
            ids.append(read_accepted(version, settings, contract)["user_id"])
    return pa.chunked_array([chunk for column in ids for chunk in column.chunks])
