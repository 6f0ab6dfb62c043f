"""Labels that no file brings: a user who was there in one month and is gone by the next month's data.

They are derived when the data that they follow from are accepted or corrected, in the same transaction, and
are a delivery like any other: known when the last of their sources was, kept as a file, and corrected by a
later version when a source is corrected. So a correction that brings a user back changes the labels from then
on, but no training set that exists.
"""

import csv
import datetime as dt
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from churn.contract.structure import LABEL_COLUMN, Contract, LabelRule, Table
from churn.contract.translation import translation
from churn.deliveries.ledger import Delivery, accepted, blocked, mark_unloadable, record
from churn.deliveries.problems import Oddity, RefusedDrop
from churn.deliveries.store import keep_content, read_accepted
from churn.fingerprint import fingerprint
from churn.months import Month
from churn.settings import Settings

_TICK = dt.timedelta(microseconds=1)


@dataclass(frozen=True)
class DerivedLabels:
    """What became of the labels of one month: a new version, or why there is none."""

    delivery: Delivery | None = None
    is_correction: bool = False
    oddity: Oddity | None = None


def derive_around(
    connection: psycopg.Connection,
    month: Month,
    *,
    now: dt.datetime,
    settings: Settings,
    contract: Contract,
) -> list[DerivedLabels]:
    """Derive the labels that a month's delivery may have changed: those of the month before, and its own.

    Args:
        connection: the transaction of the delivery.
        month: the month that was delivered.
        now: the time of the delivery.
        settings: where the store is, and which month is the first.
        contract: the labels' rule, and the tables that it reads.
    """
    if contract.label.kind == "file":
        return []
    derivation = _Derivation(connection, now, settings, contract)
    months = [month.shift(-1), month]
    outcomes = [derivation.derive(each) for each in months if each >= settings.first_month]
    outcomes.append(derivation.waiting(month.shift(-2)))
    return [each for each in outcomes if each != DerivedLabels()]


@dataclass(frozen=True)
class _Derivation:
    connection: psycopg.Connection
    now: dt.datetime
    settings: Settings
    contract: Contract

    def derive(self, month: Month) -> DerivedLabels:
        """Derive the labels of a month; nothing where they have not changed, or a source is missing."""
        needed = [(month, self.contract.users), (month.next, self.contract.users)]
        if self.contract.label.kind != "absent":
            table = self.contract.table_by_name[self.contract.label.table]
            needed += [(month, table), (month.next, table)]
        sources = [self._usable(each, table) for each, table in needed]
        chosen = [source for source in sources if source is not None]
        if len(chosen) < len(needed):
            return DerivedLabels()
        try:
            rows = [read_accepted(each, self.settings, self.contract) for each in chosen]
        except RefusedDrop as error:
            what = f"of {month} could not be derived: {error.where or error}"
            return DerivedLabels(oddity=self._oddity(what, chosen[0].rows))
        content = _labels(month, rows, self.contract.label)
        return self._deliver(month, content, chosen) if content else DerivedLabels()

    def waiting(self, month: Month) -> DerivedLabels:
        """Return an oddity where a month's labels wait for a drop while later drops are here already."""
        users = self._usable(month, self.contract.users)
        if users is None or accepted(month.next, self.contract.users, self.connection):
            return DerivedLabels()
        what = f"of {month} wait for the drop of {month.next}, which is not here; users without a label"
        return DerivedLabels(oddity=self._oddity(what, users.rows))

    def _oddity(self, what: str, users: int) -> Oddity:
        return Oddity(self.contract.labels.shown_file, "", what, users, users)

    def _usable(self, month: Month, table: Table) -> Delivery | None:
        """Return the newest version that may be used; None where there is none."""
        impossible = blocked(month, table, self.connection)
        usable = [
            version
            for version in accepted(month, table, self.connection)
            if version.unloadable is None and version.delivery_id not in impossible
        ]
        return usable[-1] if usable else None

    def _deliver(self, month: Month, content: bytes, sources: Sequence[Delivery]) -> DerivedLabels:
        # Imported late, since it loads pandas and pandera.
        from churn.deliveries.rules import load

        table = self.contract.labels
        reading, problems = load(content, table)
        if problems or reading.rows is None or reading.by_user is None:
            raise RefusedDrop(problems, where=f"labels derived for {month}")
        content_known_by = fingerprint(reading.rows, order=reading.by_user.order)
        sha256 = hashlib.sha256(content).hexdigest()
        path = f"{month}/{table.name}/{sha256}.csv"
        newest = self._usable(month, table)
        if newest is not None and newest.fingerprint == content_known_by:
            # The stored file is written again if it was lost or altered.
            if newest.stored_path == path:
                keep_content(content, self.settings.deliveries / path)
            return DerivedLabels()
        keep_content(content, self.settings.deliveries / path)
        row = {
            "month": month.first_day,
            "file": table.name,
            "sha256": sha256,
            "fingerprint": content_known_by,
            "rows": reading.rows.num_rows,
            "accepted_at": self.now,
            "known_at": self._known_at(month, sources),
            "stored_path": path,
            "translation": translation(self.contract, table),
        }
        return DerivedLabels(record(self.connection, row), is_correction=newest is not None)

    def _known_at(self, month: Month, sources: Sequence[Delivery]) -> dt.datetime:
        """Return when the last source was known; earlier labels from unusable sources are marked unusable."""
        known = max(month.matures_at, *(source.known_at for source in sources))
        unused = {
            version.known_at
            for source in sources
            for version in accepted(
                source.month, self.contract.table_by_name[source.file], self.connection
            )
            if version.unloadable is not None
        }
        impossible = blocked(month, self.contract.labels, self.connection)
        for version in accepted(month, self.contract.labels, self.connection):
            if version.unloadable is not None or version.known_at < known:
                continue
            if version.known_at in unused or version.delivery_id in impossible:
                reason = "it follows from a version that is not used any more"
                mark_unloadable(self.connection, version.delivery_id, reason)
            else:
                # A source was declared as known before labels that were derived already.
                known = version.known_at + _TICK
        return known


def _labels(month: Month, rows: Sequence[pa.Table], rule: LabelRule) -> bytes:
    """Return the labels as a canonical file, sorted by user_id; empty where nobody was there.

    Args:
        month: the month of the labels.
        rows: the users of the month and of the next one; for other rules than absence, also the rule's table
            in both.
        rule: how it is known who is gone. By every rule, a user who is missing from the next month is gone.
            A user who was gone by the month's own data gets no label: only those who were there can leave.
    """
    ids, next_ids = (table["user_id"].combine_chunks() for table in rows[:2])
    gone = pc.invert(pc.is_in(ids, value_set=next_ids))
    if rule.kind != "absent":
        there = pc.invert(pc.is_in(ids, value_set=_gone(month, rows[2], rule)))
        gone = pc.or_(gone, pc.is_in(ids, value_set=_gone(month.next, rows[3], rule)))
        ids, gone = ids.filter(there), gone.filter(there)
    if not len(ids):
        return b""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["user_id", LABEL_COLUMN])
    writer.writerows(sorted(zip(ids.to_pylist(), gone.to_pylist(), strict=True)))
    return out.getvalue().encode()


def _gone(month: Month, rows: pa.Table, rule: LabelRule) -> pa.Array:
    """Return the users who are gone at the month's end, by a column of its data."""
    column = rows[rule.column]
    if rule.kind == "end_date":
        is_gone = pc.less_equal(column, pa.scalar(month.as_of_date))
    else:
        is_bool = pa.types.is_boolean(column.type)
        text = pc.if_else(column, "True", "False") if is_bool else column.cast(pa.string())
        words = pc.utf8_trim_whitespace(text)
        is_gone = pc.is_in(words, value_set=pa.array(rule.gone, pa.string()))
    return rows["user_id"].filter(pc.fill_null(is_gone, False)).combine_chunks()
