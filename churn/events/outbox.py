"""The outbox: events as they are kept in Postgres, in the transaction of what they tell.

An event has one key, so a step that is made again tells nothing twice. The table is append-only; how far an
event has got stands beside it, by target (`delivery.py`).
"""

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from churn.events.kinds import Event, data_of


@dataclass(frozen=True)
class Message:
    """An event as it is sent: under the same id however often."""

    event_id: uuid.UUID
    kind: str
    data: dict[str, Any]
    recorded_at: dt.datetime

    @property
    def summary(self) -> str:
        """The sentence about it."""
        return str(self.data["summary"])


def record_event(connection: psycopg.Connection, event: Event) -> None:
    """Keep an event, unless it was kept before.

    Args:
        connection: the transaction that does what the event tells: neither is there without the other.
        event: what happened.
    """
    connection.execute(
        "INSERT INTO monitoring.events (key, kind, data) VALUES (%s, %s, %s)"
        " ON CONFLICT (key) DO NOTHING",
        [f"{event.kind}:{event.same_as}", event.kind, Jsonb(data_of(event))],
    )


def read_events(
    connection: psycopg.Connection,
    *,
    since: dt.datetime | None = None,
    ids: Sequence[uuid.UUID] | None = None,
) -> list[Message]:
    """Return events, the first recorded first.

    Args:
        connection: an open transaction.
        since: only those recorded at this instant or later.
        ids: only these.
    """
    with connection.cursor(row_factory=class_row(Message)) as cursor:
        return cursor.execute(
            "SELECT event_id, kind, data, recorded_at FROM monitoring.events"
            " WHERE recorded_at >= coalesce(%s, recorded_at)"
            " AND event_id = ANY(coalesce(%s, ARRAY[event_id])) ORDER BY seq",
            [since, None if ids is None else list(ids)],
        ).fetchall()
