"""Events of every kind, made up, and those that the outbox holds."""

import datetime as dt

from churn.database import connect
from churn.events.kinds import (
    AlarmRaised,
    DropRefused,
    Event,
    ListReady,
    MonthClosed,
    ReleasePromoted,
    ReleaseRolledBack,
)
from churn.events.outbox import Message, read_events, record_event
from churn.months import Month

MARCH = Month.parse("2024-03")
RELEASE = "98bfb66ca93d" + "0" * 52
_DECIDED = {
    "release_id": RELEASE,
    "version": "3",
    "trained_on": Month.parse("2024-01"),
    "decided_for": Month.parse("2024-02").as_of,
    "is_in_force": True,
}
EXAMPLES: tuple[Event, ...] = (
    MonthClosed(MARCH, MARCH.as_of, users=7_043),
    DropRefused(MARCH, problems=3, refusal="0c1f2e3d4b5a6978"),
    ListReady(MARCH, list_id="5e" * 32, treated=412, control=46),
    ReleasePromoted(entry=1, before=None, decided_by="gate", **_DECIDED),
    ReleaseRolledBack(entry=7, before="b1" * 32, decided_by="person", **_DECIDED),
    AlarmRaised("drift", MARCH, RELEASE, ("monthly_fee", "score")),
)


def tell(*events: Event) -> None:
    for event in events:
        with connect() as connection:
            record_event(connection, event)


def told(kind: str = "") -> list[Message]:
    """Return what the outbox holds; of one kind, if one is named."""
    with connect() as connection:
        return [each for each in read_events(connection) if not kind or each.kind == kind]


def closed(number: int, users: int = 10) -> MonthClosed:
    """A month of which a version was published; each number is another one."""
    return MonthClosed(MARCH, MARCH.as_of + dt.timedelta(days=number), users)
