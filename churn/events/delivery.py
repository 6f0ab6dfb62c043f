"""Sending events: at least once to each target, again at growing intervals, then given up and said so.

An event is marked as delivered after its target has said that it has it. So a process that is killed in
between sends it once more, under the same id, by which a receiver knows it.
"""

import datetime as dt
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from churn.database import connect, lock
from churn.events.outbox import Message
from churn.events.targets import NotDelivered, Target

# A sensor may not take longer than its tick is waited for.
_SECONDS_AT_ONCE = 60.0


@dataclass(frozen=True)
class Sending:
    """One sending of an event to a target; without a problem, the target has it.

    `again_at` is when it is sent again; None where it was delivered, or is given up.
    """

    message: Message
    target: str
    problem: str = ""
    again_at: dt.datetime | None = None

    @property
    def is_given_up(self) -> bool:
        """Nobody will try again by themselves."""
        return bool(self.problem) and self.again_at is None

    def __str__(self) -> str:
        what = f"{self.message.kind} {self.message.event_id} to {self.target}"
        if not self.problem:
            return f"{what}: delivered"
        if self.again_at is None:
            return f"{what}: {self.problem}; given up: churn events replay {self.message.event_id}"
        return f"{what}: {self.problem}; again at {self.again_at:%Y-%m-%d %H:%M} UTC"


def deliver_due(
    targets: Sequence[Target], delays: Sequence[dt.timedelta], now: dt.datetime
) -> list[Sending]:
    """Send what is due, the oldest event first; a target that fails is left alone until the next call.

    Args:
        targets: where to send. One that is new is told what happens from now on.
        delays: how long to wait after an event's first failure, its second, and so on; then it is given up.
        now: the time of this call.
    """
    if not targets:
        return []
    with connect() as connection:
        _enrol(connection, [target.name for target in targets], now)
    # Each has a share of its own, so that one that is slow leaves time for those after it.
    share = _SECONDS_AT_ONCE / len(targets)
    attempts = []
    for target in targets:
        deadline = time.monotonic() + share
        while time.monotonic() < deadline:
            attempt = _deliver_next(target, delays, now)
            if attempt is None:
                break
            attempts.append(attempt)
            if attempt.problem:
                break
    return attempts


def _enrol(connection: psycopg.Connection, targets: Sequence[str], now: dt.datetime) -> None:
    """Make each event wait for each target; what was there before a target was is not sent to it.

    An event is looked for by its row and not by its number: one with a lower number may be committed later.
    """
    lock(connection, "churn.events.targets")
    for target in targets:
        is_new = connection.execute(
            "INSERT INTO monitoring.event_targets (target) VALUES (%s) ON CONFLICT DO NOTHING",
            [target],
        ).rowcount
        connection.execute(
            "INSERT INTO monitoring.event_deliveries (event_id, target, state, due_at)"
            " SELECT event_id, %(target)s, %(state)s, %(now)s FROM monitoring.events AS e"
            " WHERE NOT EXISTS (SELECT FROM monitoring.event_deliveries AS d"
            "  WHERE d.event_id = e.event_id AND d.target = %(target)s)",
            {"target": target, "state": "earlier" if is_new else "waiting", "now": now},
        )


def _deliver_next(
    target: Target, delays: Sequence[dt.timedelta], now: dt.datetime
) -> Sending | None:
    """Send the oldest event that is due to a target, holding its row meanwhile; None where there is none."""
    with connect() as connection:
        due = _next_due(connection, target.name, now)
        if due is None:
            return None
        message, failures = due
        again_at = None
        problem = problem_of_sending(target, message, now)
        if problem and failures < len(delays):
            again_at = now + delays[failures]
        attempt = Sending(message, target.name, problem, again_at)
        _note(connection, attempt)
    return attempt


def problem_of_sending(target: Target, message: Message, now: dt.datetime) -> str:
    """Send an event to a target; return why the target does not have it, blank where it has.

    An error that nobody foresaw, such as that of an address that is none, is a failed sending like any other:
    it must not hold up other events, nor other targets.
    """
    try:
        target.send(message, now)
    except NotDelivered as error:
        return str(error)
    except Exception as error:
        # Its text may hold the address or the secret, so that only its type is told.
        return f"it could not be sent ({type(error).__name__})"
    return ""


def _next_due(
    connection: psycopg.Connection, target: str, now: dt.datetime
) -> tuple[Message, int] | None:
    row = connection.execute(
        "SELECT e.event_id, e.kind, e.data, e.recorded_at, d.attempts"
        " FROM monitoring.event_deliveries AS d JOIN monitoring.events AS e USING (event_id)"
        " WHERE d.target = %s AND d.state = 'waiting' AND d.due_at <= %s"
        " ORDER BY e.seq LIMIT 1 FOR UPDATE OF d SKIP LOCKED",
        [target, now],
    ).fetchone()
    return (Message(*row[:4]), row[4]) if row else None


def _note(connection: psycopg.Connection, attempt: Sending) -> None:
    state = "waiting" if attempt.again_at else "given up" if attempt.problem else "delivered"
    connection.execute(
        "UPDATE monitoring.event_deliveries SET state = %s, attempts = attempts + 1,"
        " due_at = coalesce(%s, due_at), problem = %s, recorded_at = clock_timestamp()"
        " WHERE event_id = %s AND target = %s",
        [
            state,
            attempt.again_at,
            attempt.problem or None,
            attempt.message.event_id,
            attempt.target,
        ],
    )


def replay(
    connection: psycopg.Connection,
    targets: Sequence[Target],
    ids: Sequence[uuid.UUID],
    now: dt.datetime,
) -> None:
    """Make events wait for every target again, as if they had just happened, under the ids that they have."""
    _enrol(connection, [target.name for target in targets], now)
    connection.execute(
        "UPDATE monitoring.event_deliveries SET state = 'waiting', attempts = 0, due_at = %s,"
        " problem = NULL, recorded_at = clock_timestamp()"
        " WHERE event_id = ANY(%s) AND target = ANY(%s)",
        [now, list(ids), [target.name for target in targets]],
    )


@dataclass(frozen=True)
class Progress:
    """How far an event has got with a target."""

    event_id: uuid.UUID
    target: str
    state: str
    attempts: int
    due_at: dt.datetime
    problem: str | None


def read_progress(connection: psycopg.Connection, *, state: str | None = None) -> list[Progress]:
    """Return how far each event has got with each target, the first recorded first.

    Args:
        connection: an open transaction.
        state: only what is in this state.
    """
    with connection.cursor(row_factory=class_row(Progress)) as cursor:
        return cursor.execute(
            "SELECT d.event_id, d.target, d.state, d.attempts, d.due_at, d.problem"
            " FROM monitoring.event_deliveries AS d JOIN monitoring.events AS e USING (event_id)"
            " WHERE d.state = coalesce(%s, d.state) ORDER BY e.seq, d.target",
            [state],
        ).fetchall()


def given_up() -> list[str]:
    """Return a sentence about each target that events were given up for."""
    with connect() as connection:
        lost = read_progress(connection, state="given up")
    sentences = []
    for target in sorted({each.target for each in lost}):
        of_target = [each for each in lost if each.target == target]
        events = "1 event was" if len(of_target) == 1 else f"{len(of_target):,} events were"
        sentences.append(
            f"{events} not delivered to {target} ({of_target[-1].problem}) and given up:"
            " churn events list"
        )
    return sentences
