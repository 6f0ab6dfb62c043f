"""The watched folder: each look takes in what is new, and asks again where the answer may be another one.

What was seen is kept in a cursor, per name in the folder, or per month where the files of many drops lie
beside each other: of a drop that is done with its signature, of one that was refused also what the refusal
depends on and the contract that refused it, so that a drop which came a day too early, or whose month was
delivered after its labels, is taken in without anybody touching it, and one with a wrong cell is not read
again every half minute. A drop that was taken in is not asked about again when the contract changes:
somebody may have delivered a correction of it elsewhere, which it would undo.

A folder may still be being copied. If anything in it was touched within `SETTLING` of this look, it is
left until two looks in a row find it the same; what a copying program has not renamed yet is waited for.
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
from churn.deliveries.drops import (
    Listing,
    Stray,
    drop_files,
    is_flat,
    list_drops,
    shown_name,
    unfinished_files,
)
from churn.deliveries.problems import CAUSED_BY_CONTENT, Refusal
from churn.errors import ChurnError
from churn.months import Month
from churn.retry import is_passing
from churn.settings import Settings, get_settings

SETTLING = dt.timedelta(minutes=5)
RETRY = dt.timedelta(minutes=5)  # where a fault may have passed and nothing tells whether it has
# What a single drop can cause. Postgres that does not answer is no drop's fault and ends the look.
_FAULTS = (OSError, *CAUSED_BY_CONTENT)

Entry = (
    str | dict[str, Any]
)  # of a name: the signature of what is done with, or what is known of it
Cursor = dict[str, Entry]


@dataclass(frozen=True)
class NotTaken:
    """A drop in the folder that is not taken in, as it is told to people."""

    month: Month
    error: ChurnError
    waits: bool  # it only came before its time, and will be taken in by itself


class Standing(NamedTuple):
    """A drop that this look found in the folder and that is not taken in, told of now or before."""

    name: str
    month: Month
    waits: bool


@dataclass
class Look:
    """What one look at the folder brought; refused drops and strays are told of once."""

    accepted: list[str] = field(default_factory=list)  # the drops that brought something new
    refused: dict[str, NotTaken] = field(default_factory=dict)  # by the drop's name
    strays: list[Stray] = field(default_factory=list)
    standing: list[Standing] = field(default_factory=list)
    is_complete: bool = True  # False where the folder is there and could not be listed
    cursor: Cursor = field(default_factory=dict)  # for the next look


def take_in(
    folder: Path,
    cursor: Mapping[str, Entry],
    *,
    now: dt.datetime,
    settings: Settings | None = None,
    contract: Contract = CONTRACT,
) -> Look:
    """Deliver what is new or may be answered differently by now, the oldest month first.

    Args:
        folder: holds drops: folders, or files whose names say their month; it may not exist yet.
        cursor: what the last look returned, or an earlier version of this project did.
        now: the time of this look.
        settings: the months that there are, and the store; the environment's where not given.
        contract: what drops are held against.
    """
    settings = settings or get_settings()
    look = Look()
    try:
        listing = list_drops(folder, settings, contract)
    except FileNotFoundError:
        return look
    except OSError as error:
        remedy = "make it a folder that this user can list, or set CHURN_DROPS"
        listing = Listing((), (Stray(str(folder), f"cannot be listed: {error.strerror}", remedy),))
        look.cursor = dict(cursor)  # what is in it was seen before, and will be again
        look.is_complete = False
    for stray in listing.strays:
        name = shown_name(stray.name)
        look.cursor[name] = {"stray": stray.what}
        if cursor.get(name) != look.cursor[name]:
            look.strays.append(stray)
    world = _world(settings, now)
    for month, drop in listing.drops:
        name = str(month) if drop == folder else drop.name
        _One(name, drop, month, cursor.get(name), settings, world, look, contract).look_at()
    return look


def keep_standing(look: Look, now: dt.datetime) -> None:
    """Keep the drops that are not taken in, for those who watch, and since when each is so.

    Args:
        look: the last one; what an earlier one kept and this one did not find is over.
        now: the time of the look.
    """
    if not look.is_complete:
        return
    with connect() as connection:
        lock(connection, "churn.drops_not_taken")
        connection.execute(
            "DELETE FROM monitoring.drops_not_taken WHERE name <> ALL(%s)",
            [[each.name for each in look.standing]],
        )
        connection.cursor().executemany(
            "INSERT INTO monitoring.drops_not_taken (name, month, waits, since)"
            " VALUES (%(name)s, %(month)s, %(waits)s, %(now)s) ON CONFLICT (name) DO UPDATE"
            " SET month = excluded.month, waits = excluded.waits, since = CASE"
            "  WHEN drops_not_taken.waits = excluded.waits THEN drops_not_taken.since"
            "  ELSE excluded.since END",
            [
                {**each._asdict(), "month": each.month.first_day, "now": now}
                for each in look.standing
            ],
        )


def read_cursor(text: str | None) -> Cursor:
    """Return the cursor of the last look; nothing was seen where it cannot be read."""
    try:
        cursor = json.loads(text or "{}")
    except ValueError:
        return {}
    return cursor if isinstance(cursor, dict) else {}


class _World(NamedTuple):
    """How things stand beside the folder, as far as a refusal may depend on it."""

    now: dt.datetime
    settings: str
    delivery: int  # the newest one of all
    files: frozenset[tuple[dt.date, str]]  # month and file, where a version is accepted


def _world(settings: Settings, now: dt.datetime) -> _World:
    query = "SELECT month, file, max(delivery_id) FROM raw.deliveries GROUP BY month, file"
    with connect() as connection:
        rows = connection.execute(query).fetchall()
    newest = max((row[2] for row in rows), default=0)
    months = f"{settings.first_month} to {settings.last_month or ''}"
    return _World(now, months, newest, frozenset((row[0], row[1]) for row in rows))


@dataclass
class _One:
    """One drop at one look: what was known of it, and what is noted."""

    name: str
    drop: Path
    month: Month
    known: Entry | None
    settings: Settings
    world: _World
    look: Look
    contract: Contract

    def look_at(self) -> None:
        """Deliver the drop if that is due, and note how it stands."""
        name = self.name
        signature = ""  # of a folder that cannot even be listed
        try:
            signature, newest = self._signature()
            if not self._is_due(signature):
                self.look.cursor[name] = self.known or signature
            elif self._is_unsettled(signature, newest):
                self.look.cursor[name] = {"signature": signature, "settling": True}
            else:
                self._deliver(signature)
        except ChurnError as error:
            if is_passing(error) and not isinstance(error, Refusal):
                raise  # a server does not answer: no drop's fault, and the next look asks again
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
        noted = self.look.cursor[name]
        if isinstance(noted, dict) and "depends_on" in noted:
            waits = self._waits(noted["depends_on"])
            self.look.standing.append(Standing(name, self.month, waits))

    def _is_due(self, signature: str) -> bool:
        """Say whether the drop has to be asked about at this look."""
        known, world = self.known, self.world
        if isinstance(known, str):
            # Earlier versions noted a refused drop like one that was taken in. What is in no delivery
            # was refused, and is asked about once more.
            files = drop_files(self.drop, self.month, self.settings.first_month, self.contract)
            here = {(self.month.first_day, table.name) for table in files.tables}
            return known != signature or not here <= world.files
        if known is None or known.get("signature") != signature or "depends_on" not in known:
            return True
        until, depends_on = known["until"], known["depends_on"]
        return (
            (until is not None and world.now >= dt.datetime.fromisoformat(until))
            or known.get("contract", self.contract.fingerprint) != self.contract.fingerprint
            or ("settings" in depends_on and known["settings"] != world.settings)
            or ("deliveries" in depends_on and known["delivery"] != world.delivery)
            or ("access" in depends_on and known["access"] != self._access())
        )

    def _is_unsettled(self, signature: str, newest: dt.datetime) -> bool:
        """Say whether the drop may still be being copied, as far as two looks can tell."""
        known = self.known
        before = known.get("signature") if isinstance(known, dict) else known
        return before != signature and self.world.now - newest < SETTLING

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
            now=self.world.now,
            month=self.month,
            contract=self.contract,
        )
        self.look.cursor[self.name] = signature
        if outcome.is_changed:
            self.look.accepted.append(self.name)

    def _refuse(self, error: ChurnError, signature: str) -> None:
        """Note a refusal with what it depends on, and tell of it unless that was done before."""
        # An error that is no refusal says nothing of the drop: by the next try it may have passed.
        depends_on = error.depends_on if isinstance(error, Refusal) else frozenset({"access"})
        until = error.until if isinstance(error, Refusal) else None
        if "access" in depends_on:
            until = self.world.now + RETRY
        name, known = self.name, self.known
        told = hashlib.sha256(str(error).encode("utf-8", "backslashreplace")).hexdigest()[:16]
        self.look.cursor[name] = {
            "signature": signature,
            "depends_on": sorted(depends_on),
            "until": until.isoformat() if until else None,
            "contract": self.contract.fingerprint,
            "settings": self.world.settings,
            "delivery": self.world.delivery,
            "access": self._access(),
            "told": told,
        }
        if not isinstance(known, dict) or known.get("told") != told:
            self.look.refused[name] = NotTaken(self.month, error, self._waits(depends_on))

    def _waits(self, depends_on: Collection[str]) -> bool:
        """Say whether the drop of a month that has begun waits for nothing but time."""
        return set(depends_on) == {"time"} and self.world.now.date() >= self.month.first_day

    def _paths(self) -> list[Path]:
        """Return all that lies in the drop's folder; of one beside others, its own files."""
        if self._is_flat:
            return sorted(
                drop_files(self.drop, self.month, self.settings.first_month, self.contract).paths
            )
        return sorted(self.drop.iterdir())

    @functools.cached_property
    def _is_flat(self) -> bool:
        return is_flat(self.drop, self.month, self.settings.first_month, self.contract)

    def _signature(self) -> tuple[str, dt.datetime]:
        """Return what tells whether a drop has changed, and when anything in it was touched last."""
        files = [(path.name, path.stat()) for path in self._paths() if path.is_file()]
        signature = ";".join(
            f"{shown_name(name)}:{stat.st_size}:{stat.st_mtime_ns}" for name, stat in files
        )
        folder = [] if self._is_flat else [self.drop.stat()]
        newest = max(stat.st_mtime for stat in [*folder, *(stat for _, stat in files)])
        return signature, dt.datetime.fromtimestamp(newest, dt.UTC)

    def _access(self) -> str:
        """Return what changes when somebody mends the rights to a drop or to a file of it."""
        try:
            folder = [] if self._is_flat else [self.drop.stat()]
            stats = [*folder, *(path.stat() for path in self._paths())]
        except OSError as error:
            return str(error.strerror)
        return hashlib.sha256(
            ";".join(f"{s.st_mode:o}:{s.st_uid}:{s.st_gid}:{s.st_ctime_ns}" for s in stats).encode()
        ).hexdigest()[:16]
