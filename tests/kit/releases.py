"""Releases and drafts of entries, made in a line."""

import datetime as dt
import hashlib
from typing import Any

from churn.database import connect
from churn.months import Month
from churn.promotion import ledger
from churn.promotion.entry import Draft, Entry
from churn.promotion.ledger import Release, keep_release

JANUARY = Month.parse("2024-01")


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def release(name: str = "one", month: Month = JANUARY, **more: Any) -> Release:
    return Release(
        **{
            "version": "1",
            "service": "churn_rich",
            "candidate": "forest",
            "threshold": 0.5,
            "calibration": "none",
            "as_of": month.as_of_date,
            "fingerprint": sha(f"data {month}"),
            "onnx_sha256": sha(f"onnx {name}"),
            "schema_sha256": sha("schema"),
            **more,
        }
    )


def draft(month: Month | None = JANUARY, release_id: str | None = None, **more: Any) -> Draft:
    decided_for: dt.datetime = month.matures_at if month else JANUARY.matures_at
    return Draft(
        **{
            "kind": "decision" if month else "promotion by hand",
            "outcome": "promote" if release_id else "keep",
            "decided_for": decided_for,
            "month": month,
            "champion": None,
            "challenger": release_id,
            "release_id": release_id,
            "reasons": ("said so",),
            "actor": "test",
            "evidence": {"auc": 0.1 + 0.2, "nothing": None},
            **more,
        }
    )


def written(*drafts: Draft, kept: tuple[Release, ...] = ()) -> list[Entry]:
    """Append drafts to the ledger, each in a transaction of its own."""
    entries = []
    for each in kept:
        with connect() as connection:
            keep_release(connection, each)
    for each in drafts:
        with connect() as connection:
            entries.append(ledger.append(connection, each))
    return entries
