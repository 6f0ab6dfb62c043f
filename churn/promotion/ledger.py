"""The promotion ledger in Postgres, and the releases that it is about: append, read and verify, never change.

A release is an immutable unit that can be served; its id is a hash of everything that it consists of. What
an entry says is `entry.py`.
"""

import datetime as dt
import json
from dataclasses import asdict, dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from churn.database import connect, connected, lock
from churn.events.kinds import ReleasePromoted, ReleaseRolledBack
from churn.events.outbox import record_event
from churn.months import Month
from churn.promotion import entry as entry_text
from churn.promotion.entry import FIRST_HASH, Draft, Entry, canonical, releases_until, sha256

_IDENTITY = (
    "onnx_sha256",
    "schema_sha256",
    "threshold",
    "service",
    "calibration",
    "as_of",
    "fingerprint",
)


@dataclass(frozen=True)
class Release:
    """Model, calibration, threshold, feature service, schema and data, tied together.

    `as_of` is that of its label period, and `fingerprint` that of its training set. Three fields do not
    belong to its identity: `version`, its number in MLflow; `candidate`, the kind of model; and `contract`,
    the fingerprint of the contract it was fitted under, which is None for releases from before it was kept.
    """

    version: str
    service: str
    candidate: str
    threshold: float
    calibration: str
    as_of: dt.date
    fingerprint: str
    onnx_sha256: str
    schema_sha256: str
    contract: str | None = None

    @property
    def release_id(self) -> str:
        """The sha256 of everything that the release consists of."""
        content = asdict(self) | {"as_of": self.as_of.isoformat()}
        return sha256(canonical({name: content[name] for name in _IDENTITY}))

    @property
    def short_id(self) -> str:
        """The first twelve digits of the id, as people see it."""
        return self.release_id[:12]

    @property
    def month(self) -> Month:
        """The label period that it was fitted on."""
        return Month(self.as_of.replace(day=1))

    def as_json(self) -> dict[str, Any]:
        """Return every field, and the id, as JSON values."""
        return {
            "release_id": self.release_id,
            **asdict(self),
            "as_of": self.as_of.isoformat(),
        }


def keep_release(connection: psycopg.Connection, release: Release) -> None:
    """Store a release, unless it is stored already."""
    row = {"release_id": release.release_id, **asdict(release)}
    statement = sql.SQL(
        "INSERT INTO decisions.releases ({}) VALUES ({}) ON CONFLICT DO NOTHING"
    ).format(
        sql.SQL(", ").join(map(sql.Identifier, row)), sql.SQL(", ").join(map(sql.Placeholder, row))
    )
    connection.execute(statement, row)


def read_releases(connection: psycopg.Connection) -> dict[str, Release]:
    """Return every release by its stored id, the first recorded first."""
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute("SELECT * FROM decisions.releases ORDER BY recorded_at, release_id")
        rows = cursor.fetchall()
    return {
        row["release_id"]: Release(
            **{key: value for key, value in row.items() if key not in ("release_id", "recorded_at")}
        )
        for row in rows
    }


# Held while deciding: one decision is taken at a time.
DECISIONS_LOCK = "churn.decisions"


@dataclass(frozen=True)
class Verification:
    """The result of verifying the whole chain; `broken` is the number of the first broken entry."""

    entries: int
    broken: int | None = None
    problem: str = ""

    @property
    def is_whole(self) -> bool:
        """Every entry is as it was written, and so is every release."""
        return not self.problem


def append(connection: psycopg.Connection, draft: Draft) -> Entry:
    """Append an entry to the chain, in the caller's transaction."""
    lock(connection, f"{DECISIONS_LOCK}.append")
    newest = connection.execute(
        "SELECT seq, hash FROM decisions.ledger ORDER BY seq DESC LIMIT 1"
    ).fetchone()
    seq, previous_hash = (newest[0] + 1, newest[1]) if newest else (1, FIRST_HASH)
    clock = connection.execute("SELECT clock_timestamp()").fetchone()
    assert clock is not None  # noqa: S101  (a function always returns a row)
    text = entry_text.write(draft, seq, clock[0])
    found_hash = entry_text.seal(text, previous_hash)
    connection.execute(
        "INSERT INTO decisions.ledger (seq, entry, previous_hash, hash) VALUES (%s, %s, %s, %s)",
        [seq, text, previous_hash, found_hash],
    )
    in_force = _tell_api(connection)
    if draft.release_id and draft.outcome != "keep":
        record_event(connection, _event(connection, draft, seq, in_force))
    return entry_text.read(json.loads(text), previous_hash, found_hash)


def _tell_api(connection: psycopg.Connection) -> str | None:
    """Store for the API which release is in force now, in the transaction of the new entry; return its id."""
    stack = releases_until(entries(connection))
    in_force = stack[-1] if stack else None
    connection.execute("DELETE FROM online.release_in_force")
    connection.execute(
        "INSERT INTO online.release_in_force (release_id, version, onnx_sha256)"
        " SELECT release_id, version, onnx_sha256 FROM decisions.releases WHERE release_id = %s",
        [in_force],
    )
    return in_force


def _event(
    connection: psycopg.Connection, draft: Draft, seq: int, in_force: str | None
) -> ReleasePromoted | ReleaseRolledBack:
    """Return what those who run the system are told of an entry that puts a release into force."""
    assert draft.release_id is not None  # noqa: S101  (the caller has asked)
    kept = read_releases(connection).get(draft.release_id)
    event = ReleaseRolledBack if draft.outcome == "restore" else ReleasePromoted
    return event(
        entry=seq,
        release_id=draft.release_id,
        version=kept.version if kept else None,
        trained_on=kept.month if kept else None,
        before=draft.champion,
        decided_for=draft.decided_for,
        decided_by="gate" if draft.kind == "decision" else "person",
        is_in_force=draft.release_id == in_force,
    )


def entries(
    connection: psycopg.Connection | None = None, *, before: int | None = None
) -> list[Entry]:
    """Return every entry, the first recorded first; only those before a number, if one is given."""
    if connection is None:
        with connect() as opened:
            return entries(opened, before=before)
    rows = connection.execute(
        "SELECT entry, previous_hash, hash FROM decisions.ledger"
        " WHERE seq < coalesce(%s, seq + 1) ORDER BY seq",
        [before],
    ).fetchall()
    return [entry_text.read(json.loads(text), *hashes) for text, *hashes in rows]


def releases(connection: psycopg.Connection | None = None) -> dict[str, Release]:
    """Return every release that was ever promoted, by its id."""
    if connection is None:
        with connect() as opened:
            return releases(opened)
    return read_releases(connection)


def release_in_force(
    at: dt.datetime | None = None, connection: psycopg.Connection | None = None
) -> Release | None:
    """Return the release that the ledger says was in force at an instant, or None before the first.

    Args:
        at: up to and including this instant; None for the newest state of the ledger.
        connection: an open transaction to read in.
    """
    with connected(connection) as reading:
        stack = releases_until(entries(reading), at)
        return read_releases(reading)[stack[-1]] if stack else None


def verify() -> Verification:
    """Check every entry against its hash and the entry before it, and every release against its id."""
    with connect() as connection:
        rows = connection.execute(
            "SELECT seq, entry, previous_hash, hash FROM decisions.ledger ORDER BY seq"
        ).fetchall()
        kept = read_releases(connection)
    previous_hash = FIRST_HASH
    for expected, row in enumerate(rows, start=1):
        if problem := _problem(expected, previous_hash, row):
            return Verification(len(rows), expected, f"entry {expected}: {problem}")
        previous_hash = row[3]
        release_id = json.loads(row[1])["release_id"]
        if release_id and release_id not in kept:
            missing = f"entry {expected}: its release {release_id[:12]} is gone"
            return Verification(len(rows), expected, missing)
    for release_id, release in kept.items():
        if release.release_id != release_id:
            altered = f"release {release_id[:12]} was altered: its content is another one's"
            return Verification(len(rows), _first_of(release_id, rows), altered)
    return Verification(len(rows))


def _problem(expected: int, previous_hash: str, row: tuple[int, str, str, str]) -> str:
    seq, text, found_previous, found_hash = row
    if seq != expected:
        return f"missing; the next one there is {seq}"
    if found_previous != previous_hash:
        return "it does not follow the entry before it"
    if entry_text.seal(text, previous_hash) != found_hash:
        return "its text is not the one that was sealed"
    if json.loads(text).get("seq") != seq:
        return "its number is not the one in its text"
    return ""


def _first_of(release_id: str, rows: list[tuple[int, str, str, str]]) -> int | None:
    """Return the first entry that names a release; from there on, nothing can be relied on."""
    return next((row[0] for row in rows if release_id in row[1]), None)
