"""The promotion ledger in Postgres and the releases that it is about: append, read, verify; nothing changes.

A release is one immutable thing that can be served, named by a hash of all that it is.
"""

import datetime as dt
import json
from dataclasses import asdict, dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from churn.database import connect, connected, lock
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

    `version` is where MLflow keeps it, `candidate` what kind of model it is, and `contract` what was
    declared then; none of them makes it another release.
    """

    version: str
    service: str
    candidate: str
    threshold: float
    calibration: str
    as_of: dt.date  # of its label period
    fingerprint: str  # of its training set
    onnx_sha256: str
    schema_sha256: str
    contract: str | None = (
        None  # fingerprint of the one it was fitted under; None before it was kept
    )

    @property
    def release_id(self) -> str:
        """The sha256 over everything that the release is."""
        content = asdict(self) | {"as_of": self.as_of.isoformat()}
        return sha256(canonical({name: content[name] for name in _IDENTITY}))

    @property
    def short_id(self) -> str:
        """The first twelve digits of the id, for people."""
        return self.release_id[:12]

    @property
    def month(self) -> Month:
        """The label period that it was fitted on."""
        return Month(self.as_of.replace(day=1))

    def as_json(self) -> dict[str, Any]:
        """Return every field, and the id, as JSON knows them."""
        return {
            "release_id": self.release_id,
            **asdict(self),
            "as_of": self.as_of.isoformat(),
        }


def keep_release(connection: psycopg.Connection, release: Release) -> None:
    """Write a release down, unless it is there: what is the same is one release."""
    row = {"release_id": release.release_id, **asdict(release)}
    statement = sql.SQL(
        "INSERT INTO decisions.releases ({}) VALUES ({}) ON CONFLICT DO NOTHING"
    ).format(
        sql.SQL(", ").join(map(sql.Identifier, row)), sql.SQL(", ").join(map(sql.Placeholder, row))
    )
    connection.execute(statement, row)


def read_releases(connection: psycopg.Connection) -> dict[str, Release]:
    """Return every release by the id under which it is kept, oldest record first."""
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute("SELECT * FROM decisions.releases ORDER BY recorded_at, release_id")
        rows = cursor.fetchall()
    return {
        row["release_id"]: Release(
            **{key: value for key, value in row.items() if key not in ("release_id", "recorded_at")}
        )
        for row in rows
    }


DECISIONS_LOCK = "churn.decisions"  # held by whoever decides: one at a time


@dataclass(frozen=True)
class Verification:
    """What a look at the whole chain found."""

    entries: int
    broken: int | None = None  # the number of the first broken entry
    problem: str = ""

    @property
    def is_whole(self) -> bool:
        """Every entry is as it was written, and so is every release."""
        return not self.problem


def append(connection: psycopg.Connection, draft: Draft) -> Entry:
    """Add an entry behind the newest one, in the caller's transaction."""
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
    _tell_api(connection)
    return entry_text.read(json.loads(text), previous_hash, found_hash)


def _tell_api(connection: psycopg.Connection) -> None:
    """Write down for the API what is in force now, in the transaction of the entry that says so."""
    stack = releases_until(entries(connection))
    connection.execute("DELETE FROM online.release_in_force")
    connection.execute(
        "INSERT INTO online.release_in_force (release_id, version, onnx_sha256)"
        " SELECT release_id, version, onnx_sha256 FROM decisions.releases WHERE release_id = %s",
        [stack[-1] if stack else None],
    )


def entries(
    connection: psycopg.Connection | None = None, *, before: int | None = None
) -> list[Entry]:
    """Return every entry, oldest record first; those before a number, where one is given."""
    with connected(connection) as reading:
        rows = reading.execute(
            "SELECT entry, previous_hash, hash FROM decisions.ledger"
            " WHERE seq < coalesce(%s, seq + 1) ORDER BY seq",
            [before],
        ).fetchall()
    return [entry_text.read(json.loads(text), *hashes) for text, *hashes in rows]


def releases(connection: psycopg.Connection | None = None) -> dict[str, Release]:
    """Return every release that was ever judged worth serving, by its id."""
    with connected(connection) as reading:
        return read_releases(reading)


def release_in_force(
    at: dt.datetime | None = None, connection: psycopg.Connection | None = None
) -> Release | None:
    """Return the release that the ledger says was in force at an instant; None before the first.

    Args:
        at: the instant, itself included; None for the newest state of the ledger.
        connection: an open transaction to read in.
    """
    with connected(connection) as reading:
        stack = releases_until(entries(reading), at)
        return read_releases(reading)[stack[-1]] if stack else None


def verify() -> Verification:
    """Hold every entry against its hash and the one before it, and every release against its id."""
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
    """Return the first entry that names a release: nothing from there on can be relied on."""
    return next((row[0] for row in rows if release_id in row[1]), None)
