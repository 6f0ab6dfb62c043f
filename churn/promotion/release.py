"""A release: one immutable thing that can be served, named by a hash of all that it is."""

import datetime as dt
from dataclasses import asdict, dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from churn.months import Month
from churn.promotion.canonical import canonical, sha256

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
