"""One entry of the ledger: what was decided or done, for when, on what evidence and by whom; and its text.

Pure functions without a database: the canonical JSON that is hashed, what all entries amount to in decision
time, and decisions as sentences and tables. Entries are stored in `ledger.py`.
"""

import datetime as dt
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from churn.markdown import table
from churn.months import Month


def canonical(content: Mapping[str, Any]) -> str:
    """Return the canonical JSON of a content: sorted keys, no blanks, null for a float that is not finite."""
    return json.dumps(
        _plain(content), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def sha256(text: str) -> str:
    """Return the sha256 (hex) of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, str):
        return value
    if hasattr(value, "_asdict"):  # a named tuple, such as an interval
        return _plain(value._asdict())
    if isinstance(value, Sequence):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value


Kind = Literal["decision", "promotion by hand", "rollback"]
Outcome = Literal["promote", "keep", "restore"]

# The previous hash of the first entry.
FIRST_HASH = "0" * 64


@dataclass(frozen=True)
class Draft:
    """An entry before the ledger has given it a number, a time and a hash.

    It is in force from `decided_for` on. `month` is the one whose labels it was judged on; None if it was
    done by hand. `champion` is the release in force before it, `challenger` the one that was judged or chosen
    by hand, and `release_id` the one in force after it; None: no release yet. `supersedes` is the number of
    an earlier decision of the month, where evidence came late.
    """

    kind: Kind
    outcome: Outcome
    decided_for: dt.datetime
    month: Month | None
    champion: str | None
    challenger: str | None
    release_id: str | None
    reasons: tuple[str, ...]
    actor: str
    evidence: dict[str, Any] = field(default_factory=dict)
    supersedes: int | None = None


@dataclass(frozen=True)
class Entry(Draft):
    """An entry as the ledger keeps it."""

    seq: int = 0
    recorded_at: dt.datetime = dt.datetime.min
    previous_hash: str = FIRST_HASH
    hash: str = ""

    @property
    def is_decision(self) -> bool:
        """A decision of the gate, as opposed to one made by hand."""
        return self.kind == "decision"

    @property
    def is_judged(self) -> bool:
        """A decision on labels that were known, however it ended."""
        return self.is_decision and bool(self.evidence.get("fingerprint"))

    @property
    def content_hash(self) -> str:
        """The sha256 of what was decided, whenever and in whichever order it was written down."""
        values = content(self, 0, self.decided_for)
        named = ("kind", "decided_for", "month", "outcome", "champion", "challenger", "release_id")
        return sha256(canonical({name: values[name] for name in named}))

    def as_json(self) -> dict[str, Any]:
        """Return every field as a JSON value."""
        return {
            **content(self, self.seq, self.recorded_at),
            "previous_hash": self.previous_hash,
            "hash": self.hash,
        }


def content(draft: Draft, seq: int, recorded_at: dt.datetime) -> dict[str, Any]:
    """Return an entry's fields as JSON values, without its hashes."""
    values = {each.name: getattr(draft, each.name) for each in fields(Draft)}
    return values | {
        "decided_for": _instant(draft.decided_for),
        "month": str(draft.month) if draft.month else None,
        "reasons": list(draft.reasons),
        "seq": seq,
        "recorded_at": _instant(recorded_at),
    }


def seal(text: str, previous_hash: str) -> str:
    """Return the hash of an entry's text, chained to that of the entry before it."""
    return sha256(f"{previous_hash}\n{text}")


def write(draft: Draft, seq: int, recorded_at: dt.datetime) -> str:
    """Return the text of an entry."""
    return canonical(content(draft, seq, recorded_at))


def read(stored: dict[str, Any], previous_hash: str, found_hash: str) -> Entry:
    """Return the entry whose text was parsed as JSON."""
    return Entry(
        **stored
        | {
            "decided_for": dt.datetime.fromisoformat(stored["decided_for"]),
            "recorded_at": dt.datetime.fromisoformat(stored["recorded_at"]),
            "month": Month.parse(stored["month"]) if stored["month"] else None,
            "reasons": tuple(stored["reasons"]),
            "previous_hash": previous_hash,
            "hash": found_hash,
        }
    )


def _instant(when: dt.datetime) -> str:
    return when.astimezone(dt.UTC).isoformat()


def decisions(entries: Iterable[Entry]) -> dict[Month, Entry]:
    """Return the decision that stands for each month: its newest entry."""
    return {
        entry.month: entry
        for entry in sorted(entries, key=lambda each: each.seq)
        if entry.is_decision and entry.month
    }


def effective(entries: Iterable[Entry]) -> list[Entry]:
    """Return the entries that stand, in decision time; at one instant, the month's decision comes first."""
    entries = list(entries)
    standing = [*decisions(entries).values(), *(e for e in entries if not e.is_decision)]
    return sorted(standing, key=lambda each: (each.decided_for, not each.is_decision, each.seq))


def releases_until(
    entries: Iterable[Entry], at: dt.datetime | None = None, *, before: bool = False
) -> list[str]:
    """Return the stack of releases that rollbacks go back through, the one in force last.

    Args:
        entries: those of the whole ledger.
        at: up to and including this instant; None takes all.
        before: exclude what was decided for the instant itself.
    """
    stack: list[str] = []
    for entry in effective(entries):
        if at and (entry.decided_for > at or (before and entry.decided_for == at)):
            break
        if entry.release_id is None or entry.outcome == "keep":
            continue
        if entry.outcome == "restore" and entry.release_id in stack:
            del stack[stack.index(entry.release_id) + 1 :]
        elif entry.release_id not in stack[-1:]:
            stack.append(entry.release_id)
    return stack


NO_RELEASE = "no release yet"


def evidence_table(entry: Entry | None) -> str:
    """Return the evidence of a decision as Markdown; a line that says so where there is none."""
    evidence = entry.evidence if entry else {}
    sides = [(who, evidence.get(who)) for who in ("challenger", "champion")]
    if not any(figures for _, figures in sides):
        return "no evidence: nobody was judged"
    lines = [
        f"{evidence['rows']:,} hold-out users of {evidence['month']}, {evidence['left']:,} of whom left;"
        f" trigger: {evidence['trigger']}",
        "",
        *table(_HEAD, [_row(who, figures) for who, figures in sides if figures]),
    ]
    if differences := evidence["differences"]:
        rows = [
            (name, *(f"{each[side]:+.4f}" for side in ("estimate", "low", "high")))
            for name, each in differences.items()
        ]
        lines += ["", *table(("difference", "estimate", "from", "to"), rows)]
    return "\n".join(lines)


_HEAD = ("", "release", "version", "candidate", "trained on", "AUC", "profit per user", "EMPC")


def _row(who: str, figures: dict[str, Any]) -> tuple[str, ...]:
    return (
        who,
        f"`{figures['release_id'][:12]}`",
        figures["version"],
        f"{figures['candidate']}, {figures['service']}",
        figures["as_of"],
        interval(figures["auc"]),
        interval(figures["profit"]),
        f"{figures['empc']:.4f}",
    )


def interval(figure: dict[str, float]) -> str:
    """Return a figure with its bounds as text."""
    return f"{figure['estimate']:.4f} [{figure['low']:.4f}, {figure['high']:.4f}]"


def sentence(entry: Entry | None) -> str:
    """Return a decision as one line of text."""
    if entry is None:
        return "not taken yet"
    return f"{entry.outcome}: {'; '.join(entry.reasons)}"


def in_force(entry: Entry) -> str:
    """Return the short id of the release that an entry left in force."""
    return entry.release_id[:12] if entry.release_id else NO_RELEASE


def action_text(entry: Entry) -> str:
    """Return what was done by hand, as two lines of text."""
    release = entry.evidence["release"]
    before = entry.champion[:12] if entry.champion else "nothing"
    return (
        f"entry {entry.seq}: {entry.kind}, {before} -> {in_force(entry)} (version {release['version']},"
        f" {release['candidate']} on {release['service']}, threshold {release['threshold']:g})\n"
        f"in force from {entry.decided_for:%Y-%m-%d} on; the API serves it within five seconds"
    )
