"""A customer's rows taken out of the files of the deliveries store, and what is recorded of each delivery.

Such a file is no longer the one that was delivered: it gets a name of its own, and its delivery another
sha256, fingerprint and number of rows. What they were before is kept in decisions.erased_files.
"""

import dataclasses
import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from churn.contract.in_force import BY_NAME, CONTRACT
from churn.contract.structure import CANONICAL, Dialect
from churn.contract.translation import dialects_of, translated_by
from churn.deliveries.contents import KeptFile, sources_text
from churn.deliveries.erased import SAY_KEY, KeyNames, UnknownKey, key_names, keys_of, without_rows
from churn.deliveries.ledger import Delivery, accepted, in_force, mark_unloadable
from churn.deliveries.problems import RefusedDrop
from churn.deliveries.store import holds, keep_content, listed_files, read_accepted
from churn.errors import ChurnError
from churn.fingerprint import fingerprint
from churn.months import Month
from churn.settings import get_settings

PLACE = "files of deliveries"
_OF_THE_STORE = re.compile(r"[0-9a-f]{64}\..+")


@dataclass
class _Store:
    """The files of the store, each rewritten once, however many deliveries it belongs to."""

    user_id: str
    folder: Path = field(default_factory=lambda: get_settings().deliveries)
    rewritten: dict[str, KeptFile | None] = field(default_factory=dict)

    def without_user(self, file: KeptFile, dialect: Dialect, key: KeyNames) -> KeptFile | None:
        """Return the file that takes this one's place; None where the customer is not in it.

        Raises:
            ChurnError: the customer may be in it, and which column says so is not known.
        """
        if file.stored_path not in self.rewritten:
            self.rewritten[file.stored_path] = self._rewrite(file, dialect, key)
        return self.rewritten[file.stored_path]

    def _rewrite(self, file: KeptFile, dialect: Dialect, key: KeyNames) -> KeptFile | None:
        if not holds(file.path, file.sha256):
            # A lost or altered file is reported by whoever reads it, and searched at the end.
            return None
        try:
            content, removed = without_rows(
                file.path.read_bytes(), dialect, key, lambda cell: cell.strip() == self.user_id
            )
        except UnknownKey as error:
            raise ChurnError(
                error.what, where=f"{file.name}, stored as {file.path}", remedy=SAY_KEY
            ) from None
        return self.kept(file, content) if removed else None

    def kept(self, file: KeptFile, content: bytes) -> KeptFile:
        """Keep a content in the place of a file, under a name of its own."""
        sha256 = hashlib.sha256(content).hexdigest()
        path = file.stored_path.replace(file.sha256, sha256)
        # In a dry run, too, since only what is kept can be read: what nothing refers to is removed again.
        keep_content(content, self.folder / path)
        return KeptFile(file.name, self.folder / path, sha256, path)


def erase(
    connection: psycopg.Connection, user_id: str, erasure: int | None
) -> tuple[Counter[str], list[Path]]:
    """Keep files without the customer's rows in the place of those with them, and record it.

    Args:
        connection: the transaction of the erasure.
        user_id: whom.
        erasure: the number of its record; None where nothing is to be written.

    Returns:
        How many files it is, and the files that no delivery refers to once the transaction has ended: those
        that were replaced, now or by an erasure that was interrupted, or written by a dry run.

    Raises:
        ChurnError: the customer is the only one of a delivery, others would be lost with them, or which
            column of a file names customers is not known.
    """
    store = _Store(user_id)
    for delivery in _every_delivery(connection):
        new = _rewritten(store, delivery)
        if new is not None:
            after = _after(connection, delivery, new)
            if erasure is not None:
                _record(connection, delivery, after, erasure)
    count = sum(new is not None for new in store.rewritten.values())
    return Counter({PLACE: count}), _unneeded(connection, store.folder)


def remove(unneeded: list[Path]) -> None:
    """Remove files that no delivery refers to."""
    for path in unneeded:
        path.unlink(missing_ok=True)


def _unneeded(connection: psycopg.Connection, folder: Path) -> list[Path]:
    needed: set[Path] = set()
    for (stored_path,) in connection.execute("SELECT stored_path FROM raw.deliveries"):
        path = folder / stored_path
        needed.add(path)
        if path.is_file():
            needed |= {folder / kept for _, kept, _ in listed_files(path)}
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path not in needed and _OF_THE_STORE.fullmatch(path.name)
    ]


def _every_delivery(connection: psycopg.Connection) -> list[Delivery]:
    months = connection.execute(
        "SELECT DISTINCT month, file FROM raw.deliveries ORDER BY month, file"
    ).fetchall()
    # Of a table that the contract has no more, nothing can read the files: they are searched at the end.
    return [
        delivery
        for month, file in months
        if file in BY_NAME
        for delivery in accepted(Month(month), BY_NAME[file], connection)
    ]


def _rewritten(store: _Store, delivery: Delivery) -> KeptFile | None:
    table, dialects = delivery.table, dialects_of(CONTRACT)
    if delivery.translation is not None:
        table, dialects = translated_by(delivery.translation, table)
    own = KeptFile(
        table.name, store.folder / delivery.stored_path, delivery.sha256, delivery.stored_path
    )
    sources = [
        KeptFile(name, store.folder / path, sha256, path)
        for name, path, sha256 in (listed_files(own.path) if own.path.is_file() else ())
    ]
    if not sources:
        return store.without_user(own, dialects.get(table.name, table.dialect), key_names(table))
    return _list_without(store, own, sources, dialects)


def _list_without(
    store: _Store, own: KeptFile, sources: list[KeptFile], dialects: Mapping[str, Dialect]
) -> KeptFile | None:
    keys = keys_of(CONTRACT)
    new = [
        store.without_user(each, dialects.get(each.name, CANONICAL), keys.get(each.name))
        for each in sources
    ]
    if not any(new):
        return None
    copies = tuple(after or before for before, after in zip(sources, new, strict=True))
    store.rewritten[own.stored_path] = store.kept(own, sources_text(copies))
    return store.rewritten[own.stored_path]


def _after(connection: psycopg.Connection, delivery: Delivery, new: KeptFile) -> Delivery:
    """Return what the delivery is with its new file.

    Raises:
        ChurnError: it would be left without any row while it is in force, or others' rows would be lost.
    """
    changed = dataclasses.replace(delivery, sha256=new.sha256, stored_path=new.stored_path)
    content, count = delivery.fingerprint, delivery.rows - 1
    try:
        rows = read_accepted(changed)
        content, count = fingerprint(rows), rows.num_rows
    except RefusedDrop:
        # It could not be read with the customer, either, and is in no table.
        pass
    in_use = in_force(delivery.month, delivery.table, connection=connection)
    if count < 1 and in_use is not None and in_use.delivery_id == delivery.delivery_id:
        raise ChurnError(
            "the customer is the only one of this file, and a delivery has at least one row",
            where=f"{delivery.file} {delivery.month}",
            remedy="deliver a corrected file without the customer first",
        )
    if count < delivery.rows - 1:
        raise ChurnError(
            f"{delivery.rows - count} rows would be lost, and a customer has one",
            where=f"{delivery.file} {delivery.month}",
            remedy="see which column of its files the contract calls the key; nothing was erased",
        )
    return dataclasses.replace(changed, fingerprint=content, rows=count)


def _record(
    connection: psycopg.Connection, delivery: Delivery, after: Delivery, erasure: int
) -> None:
    """Let the delivery be of its new file; what it was before, and what was confirmed, stays on record."""
    connection.execute(
        "INSERT INTO decisions.erased_files (erasure_id, delivery_id, sha256, fingerprint, rows)"
        " VALUES (%s, %s, %s, %s, %s)",
        [erasure, delivery.delivery_id, delivery.sha256, delivery.fingerprint, delivery.rows],
    )
    connection.execute(
        "UPDATE raw.deliveries SET sha256 = %s, stored_path = %s, fingerprint = %s, rows = %s"
        " WHERE delivery_id = %s",
        [
            after.sha256,
            after.stored_path,
            after.fingerprint,
            # A delivery has a row at least; one whose last row is erased is marked below.
            max(after.rows, 1),
            delivery.delivery_id,
        ],
    )
    if after.rows < 1:
        # A later version has taken its place, so it is needed for nothing but the record.
        mark_unloadable(connection, delivery.delivery_id, "erased: nobody else was in it")
    # A confirmation holds for a content; that somebody is missing from it now makes it no other month.
    connection.execute(
        "INSERT INTO decisions.confirmations (month, file, rule, fingerprint, what, reason, actor)"
        " SELECT month, file, rule, %s, what, reason, actor FROM decisions.confirmations"
        " WHERE month = %s AND file = %s AND fingerprint = %s AND fingerprint <> %s",
        [
            after.fingerprint,
            delivery.month.first_day,
            delivery.file,
            delivery.fingerprint,
            after.fingerprint,
        ],
    )
