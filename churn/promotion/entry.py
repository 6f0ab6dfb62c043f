"""One entry of the ledger: what was decided or done, for when, on what evidence, by whom."""

import datetime as dt
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from churn.months import Month
from churn.promotion.canonical import canonical, sha256

Kind = Literal["decision", "promotion by hand", "rollback"]
Outcome = Literal["promote", "keep", "restore"]

FIRST_HASH = "0" * 64  # what the first entry follows


@dataclass(frozen=True)
class Draft:
    """An entry before the ledger has given it a number, a time and a hash."""

    kind: Kind
    outcome: Outcome
    decided_for: dt.datetime  # in force from this instant on
    month: Month | None  # whose labels it was judged on; None for what is done by hand
    champion: str | None  # the release in force before it
    challenger: str | None  # the release that was judged, or chosen by hand
    release_id: str | None  # in force after it; None: no release yet
    reasons: tuple[str, ...]
    actor: str
    evidence: dict[str, Any] = field(default_factory=dict)
    supersedes: int | None = None  # an earlier decision of the month, where evidence came late


@dataclass(frozen=True)
class Entry(Draft):
    """An entry as the ledger keeps it."""

    seq: int = 0
    recorded_at: dt.datetime = dt.datetime.min
    previous_hash: str = FIRST_HASH
    hash: str = ""

    @property
    def is_decision(self) -> bool:
        """A decision of the gate, and nothing that a person did."""
        return self.kind == "decision"

    @property
    def is_judged(self) -> bool:
        """A decision on labels that were known, in whatever way it ended."""
        return self.is_decision and bool(self.evidence.get("fingerprint"))

    @property
    def content_hash(self) -> str:
        """The sha256 over what was decided, whenever and in whichever order that was written down."""
        said = content(self, 0, self.decided_for)
        named = ("kind", "decided_for", "month", "outcome", "champion", "challenger", "release_id")
        return sha256(canonical({name: said[name] for name in named}))

    def as_json(self) -> dict[str, Any]:
        """Return every field as JSON knows it."""
        return {
            **content(self, self.seq, self.recorded_at),
            "previous_hash": self.previous_hash,
            "hash": self.hash,
        }


def content(draft: Draft, seq: int, recorded_at: dt.datetime) -> dict[str, Any]:
    """Return what an entry says, without its hashes."""
    said = {each.name: getattr(draft, each.name) for each in fields(Draft)}
    return said | {
        "decided_for": _instant(draft.decided_for),
        "month": str(draft.month) if draft.month else None,
        "reasons": list(draft.reasons),
        "seq": seq,
        "recorded_at": _instant(recorded_at),
    }


def seal(text: str, previous_hash: str) -> str:
    """Return the hash of an entry's text behind the entry before it."""
    return sha256(f"{previous_hash}\n{text}")


def write(draft: Draft, seq: int, recorded_at: dt.datetime) -> str:
    """Return the text of an entry."""
    return canonical(content(draft, seq, recorded_at))


def read(said: dict[str, Any], previous_hash: str, found_hash: str) -> Entry:
    """Return the entry of a text that was read as JSON."""
    return Entry(
        **said
        | {
            "decided_for": dt.datetime.fromisoformat(said["decided_for"]),
            "recorded_at": dt.datetime.fromisoformat(said["recorded_at"]),
            "month": Month.parse(said["month"]) if said["month"] else None,
            "reasons": tuple(said["reasons"]),
            "previous_hash": previous_hash,
            "hash": found_hash,
        }
    )


def _instant(when: dt.datetime) -> str:
    return when.astimezone(dt.UTC).isoformat()
