"""The watched folder: each scan accepts what is new, and retries refused drops where the answer may differ.

What was seen is kept in a cursor, by name in the folder, or by month where the files of many drops lie side
by side. For a drop that is done with, the cursor holds its signature. For a refused drop it also holds what
the refusal depends on and the contract that refused it. So a drop that came a day too early, or labels that
came before their month, are accepted later without anybody touching them, while a drop with a wrong cell is
not read again every half minute. An accepted drop is not tried again when the contract changes: a correction
may have been delivered elsewhere, and would be undone.

A folder may still be being copied. If anything in it was touched within `SETTLING` of this scan, it is left
until two scans in a row see it unchanged; files that a copying program has not renamed yet are waited for.
"""

import datetime as dt
import functools
import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from churn.contract.in_force import CONTRACT
from churn.contract.structure import Contract
from churn.database import connect, lock
from churn.deliveries import deliver
from churn.deliveries.drop_files import drop_files
from churn.deliveries.drops import Listing, Stray, is_flat, list_drops, unfinished_files
from churn.deliveries.patterns import shown_name
from churn.deliveries.problems import CAUSED_BY_CONTENT, Refusal, RefusedDrop, total
from churn.errors import ChurnError
from churn.events.kinds import DropRefused
from churn.events.outbox import record_event
from churn.months import Month
from churn.retry import is_passing
from churn.settings import Settings, get_settings

SETTLING = dt.timedelta(minutes=5)
# How long to wait where a fault may have passed and nothing says whether it has.
RETRY = dt.timedelta(minutes=5)
# Errors that a single drop can cause. A Postgres that does not answer is no drop's fault, and ends the scan.
_FAULTS = (OSError, *CAUSED_BY_CONTENT)

# What the cursor holds for a name: the signature of a drop that is done with, or what is known of the drop.
Entry = str | dict[str, Any]
Cursor = dict[str, Entry]


@dataclass(frozen=True)
class NotTaken:
    """A drop in the folder that was not accepted, as it is reported to people.

    Args:
        waits: it only came before its time, and will be accepted by itself.
    """

    month: Month
    error: ChurnError
    waits: bool


class Standing(NamedTuple):
    """A drop that this scan saw in the folder and that is not accepted, reported now or before."""

    name: str
    month: Month
    waits: bool


@dataclass
class FolderScan:
    """What one scan of the folder brought; each refusal and each stray is reported once.

    Args:
        accepted: the names of the drops that brought something new.
        unchanged: of those that were looked at and brought nothing new.
        refused: the drops that were not accepted, by name.
        standing: every drop in the folder that is not accepted, whenever that was reported.
        is_complete: False where the folder is there and could not be listed.
        cursor: what the next scan is given.
    """

    accepted: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    refused: dict[str, NotTaken] = field(default_factory=dict)
    strays: list[Stray] = field(default_factory=list)
    standing: list[Standing] = field(default_factory=list)
    is_complete: bool = True
    cursor: Cursor = field(default_factory=dict)


def take_in(
    folder: Path,
    cursor: Mapping[str, Entry],
    *,
    now: dt.datetime,
    settings: Settings | None = None,
    contract: Contract = CONTRACT,
) -> FolderScan:
    """Deliver what is new, or was refused for a reason that may have passed; the oldest month first.

    Args:
        folder: the drops, as folders or as files with a month in their names; it need not exist yet.
        cursor: what the last scan returned, by this version of the project or an earlier one.
        now: the time of this scan.
        settings: which months there are, and where the store is; the environment's by default.
        contract: what drops are checked against.
    """
    settings = settings or get_settings()
    folder_scan = FolderScan()
    try:
        listing = list_drops(folder, settings, contract)
    except FileNotFoundError:
        return folder_scan
    except OSError as error:
        remedy = "make it a folder that this user can list, or set CHURN_DROPS"
        listing = Listing((), (Stray(str(folder), f"cannot be listed: {error.strerror}", remedy),))
        # What is in the folder was seen before, and will be seen again.
        folder_scan.cursor = dict(cursor)
        folder_scan.is_complete = False
    for stray in listing.strays:
        name = shown_name(stray.name)
        folder_scan.cursor[name] = {"stray": stray.what}
        if cursor.get(name) != folder_scan.cursor[name]:
            folder_scan.strays.append(stray)
    circumstances = _read_circumstances(settings, now)
    for month, drop in listing.drops:
        name = str(month) if drop == folder else drop.name
        _DropScan(
            name, drop, month, cursor.get(name), settings, circumstances, folder_scan, contract
        ).scan()
    return folder_scan


def keep_standing(scan: FolderScan, now: dt.datetime) -> None:
    """Keep the drops that are not taken in, for those who watch, and since when; tell each refusal once.

    Args:
        scan: the last one; what an earlier one kept and this one did not find is over.
        now: the time of the scan.
    """
    if not scan.is_complete:
        return
    with connect() as connection:
        lock(connection, "churn.drops_not_taken")
        connection.execute(
            "DELETE FROM monitoring.drops_not_taken WHERE name <> ALL(%s)",
            [[each.name for each in scan.standing]],
        )
        connection.cursor().executemany(
            "INSERT INTO monitoring.drops_not_taken (name, month, waits, since)"
            " VALUES (%(name)s, %(month)s, %(waits)s, %(now)s) ON CONFLICT (name) DO UPDATE"
            " SET month = excluded.month, waits = excluded.waits, since = CASE"
            "  WHEN drops_not_taken.waits = excluded.waits THEN drops_not_taken.since"
            "  ELSE excluded.since END",
            [
                {**each._asdict(), "month": each.month.first_day, "now": now}
                for each in scan.standing
            ],
        )
        for name, not_taken in scan.refused.items():
            if not not_taken.waits:
                record_event(connection, _refused(not_taken, name, scan.cursor[name]))


def _refused(not_taken: NotTaken, name: str, entry: Entry) -> DropRefused:
    """Return what those who run the system are told of a refusal: how much is wrong, and not with whom."""
    error = not_taken.error
    problems = total(error.problems) if isinstance(error, RefusedDrop) else 1
    known = json.dumps(
        [name, entry["signature"], entry["told"]] if isinstance(entry, dict) else [name]
    )
    return DropRefused(not_taken.month, problems, hashlib.sha256(known.encode()).hexdigest()[:16])


def read_cursor(text: str | None) -> Cursor:
    """Return the cursor of the last scan; an empty one where it cannot be read."""
    try:
        cursor = json.loads(text or "{}")
    except ValueError:
        return {}
    return cursor if isinstance(cursor, dict) else {}


class _Circumstances(NamedTuple):
    """How things stand outside of the folder, as far as a refusal may depend on it.

    `delivery` is the newest delivery_id of all; `files` are the months and files with an accepted version.
    """

    now: dt.datetime
    settings: str
    delivery: int
    files: frozenset[tuple[dt.date, str]]


def _read_circumstances(settings: Settings, now: dt.datetime) -> _Circumstances:
    query = "SELECT month, file, max(delivery_id) FROM raw.deliveries GROUP BY month, file"
    with connect() as connection:
        rows = connection.execute(query).fetchall()
    newest = max((row[2] for row in rows), default=0)
    months = f"{settings.first_month} to {settings.last_month or ''}"
    return _Circumstances(now, months, newest, frozenset((row[0], row[1]) for row in rows))


@dataclass
class _DropScan:
    """One drop in one scan: what was known of it, and what is noted of it."""

    name: str
    drop: Path
    month: Month
    known: Entry | None
    settings: Settings
    circumstances: _Circumstances
    folder_scan: FolderScan
    contract: Contract

    def scan(self) -> None:
        """Deliver the drop if that is due, and note how it stands."""
        name = self.name
        # It stays empty where the folder cannot even be listed.
        signature = ""
        try:
            signature, newest = self._signature()
            if not self._is_due(signature):
                self.folder_scan.cursor[name] = self.known or signature
            elif self._is_unsettled(signature, newest):
                self.folder_scan.cursor[name] = {"signature": signature, "settling": True}
            else:
                self._deliver(signature)
        except ChurnError as error:
            if is_passing(error) and not isinstance(error, Refusal):
                # A server that does not answer is no drop's fault, and the next scan asks again.
                raise
            self._refuse(error, signature)
        except _FAULTS as error:
            reason = (error.strerror if isinstance(error, OSError) else "") or shown_name(
                str(error)
            )
            refusal = Refusal(
                f"the drop cannot be read or kept: {reason}",
                where=f"{self.drop} ({self.month})",
                remedy=f"mend that; it is tried again every {RETRY.seconds // 60} minutes",
                depends_on=["access"],
            )
            self._refuse(refusal, signature)
        noted = self.folder_scan.cursor[name]
        if isinstance(noted, dict) and "depends_on" in noted:
            waits = self._waits(noted["depends_on"])
            self.folder_scan.standing.append(Standing(name, self.month, waits))

    def _is_due(self, signature: str) -> bool:
        """Return whether the drop has to be delivered, or tried again, in this scan."""
        known, circumstances = self.known, self.circumstances
        if isinstance(known, str):
            # Earlier versions noted refused drops like accepted ones. A drop without a delivery was refused,
            # and is tried once more.
            files = drop_files(self.drop, self.month, self.settings.first_month, self.contract)
            here = {(self.month.first_day, table.name) for table in files.tables}
            return known != signature or not here <= circumstances.files
        if known is None or known.get("signature") != signature or "depends_on" not in known:
            return True
        until, depends_on = known["until"], known["depends_on"]
        return (
            (until is not None and circumstances.now >= dt.datetime.fromisoformat(until))
            or known.get("contract", self.contract.fingerprint) != self.contract.fingerprint
            or ("settings" in depends_on and known["settings"] != circumstances.settings)
            or ("deliveries" in depends_on and known["delivery"] != circumstances.delivery)
            or ("access" in depends_on and known["access"] != self._access())
        )

    def _is_unsettled(self, signature: str, newest: dt.datetime) -> bool:
        """Return whether the drop may still be being copied, as far as two scans can tell."""
        known = self.known
        before = known.get("signature") if isinstance(known, dict) else known
        return before != signature and self.circumstances.now - newest < SETTLING

    def _deliver(self, signature: str) -> None:
        if unfinished := unfinished_files(path.name for path in self._paths()):
            raise Refusal(
                f"still being copied, as the name says: {', '.join(map(shown_name, unfinished))}",
                where=f"{self.drop} ({self.month})",
                remedy="it is taken in once that file has been renamed or removed",
            )
        outcome = deliver(
            self.drop,
            settings=self.settings,
            now=self.circumstances.now,
            month=self.month,
            contract=self.contract,
        )
        self.folder_scan.cursor[self.name] = signature
        scan = self.folder_scan
        (scan.accepted if outcome.is_changed else scan.unchanged).append(self.name)

    def _refuse(self, error: ChurnError, signature: str) -> None:
        """Note a refusal with what it depends on, and report it unless that was done before."""
        # Any other error says nothing about the drop, and may have passed by the next try.
        depends_on = error.depends_on if isinstance(error, Refusal) else frozenset({"access"})
        until = error.until if isinstance(error, Refusal) else None
        if "access" in depends_on:
            until = self.circumstances.now + RETRY
        name, known = self.name, self.known
        told = hashlib.sha256(str(error).encode("utf-8", "backslashreplace")).hexdigest()[:16]
        self.folder_scan.cursor[name] = {
            "signature": signature,
            "depends_on": sorted(depends_on),
            "until": until.isoformat() if until else None,
            "contract": self.contract.fingerprint,
            "settings": self.circumstances.settings,
            "delivery": self.circumstances.delivery,
            "access": self._access(),
            "told": told,
        }
        if not isinstance(known, dict) or known.get("told") != told:
            self.folder_scan.refused[name] = NotTaken(self.month, error, self._waits(depends_on))

    def _waits(self, depends_on: Collection[str]) -> bool:
        """Return whether the drop of a month that has begun waits for nothing but time."""
        has_begun = self.circumstances.now.date() >= self.month.first_day
        return set(depends_on) == {"time"} and has_begun

    def _paths(self) -> list[Path]:
        """Return everything in the drop's folder; only its own files where drops share a folder."""
        if self._is_flat:
            return sorted(
                drop_files(self.drop, self.month, self.settings.first_month, self.contract).paths
            )
        return sorted(self.drop.iterdir())

    @functools.cached_property
    def _is_flat(self) -> bool:
        return is_flat(self.drop, self.month, self.settings.first_month, self.contract)

    def _signature(self) -> tuple[str, dt.datetime]:
        """Return a text that changes with the drop, and when anything in it was last touched."""
        files = [(path.name, path.stat()) for path in self._paths() if path.is_file()]
        signature = ";".join(
            f"{shown_name(name)}:{stat.st_size}:{stat.st_mtime_ns}" for name, stat in files
        )
        folder = [] if self._is_flat else [self.drop.stat()]
        newest = max(stat.st_mtime for stat in [*folder, *(stat for _, stat in files)])
        return signature, dt.datetime.fromtimestamp(newest, dt.UTC)

    def _access(self) -> str:
        """Return a text that changes when somebody changes the rights to the drop or to a file in it."""
        try:
            folder = [] if self._is_flat else [self.drop.stat()]
            stats = [*folder, *(path.stat() for path in self._paths())]
        except OSError as error:
            return str(error.strerror)
        return hashlib.sha256(
            ";".join(f"{s.st_mode:o}:{s.st_uid}:{s.st_gid}:{s.st_ctime_ns}" for s in stats).encode()
        ).hexdigest()[:16]
