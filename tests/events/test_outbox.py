"""What is told is kept once, with what it tells or not at all, and for ever."""

import psycopg
import pytest

from churn.database import connect
from churn.events.kinds import data_of
from churn.events.outbox import read_events, record_event
from tests.kit.events import EXAMPLES, closed, tell, told

pytestmark = pytest.mark.usefixtures("settings")


def test_each_is_kept_once_in_the_order_in_which_it_came() -> None:
    tell(*EXAMPLES)
    first = told()
    assert [(each.kind, each.data) for each in first] == [
        (each.kind, data_of(each)) for each in EXAMPLES
    ]
    assert len({each.event_id for each in first}) == len(EXAMPLES)
    tell(*reversed(EXAMPLES))
    assert told() == first


def test_it_goes_with_the_transaction_that_does_what_it_tells() -> None:
    def fails() -> None:
        with connect() as connection:
            record_event(connection, closed(1))
            raise LookupError

    with pytest.raises(LookupError):
        fails()
    assert told() == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE monitoring.events SET kind = 'other'",
        "DELETE FROM monitoring.events",
        "TRUNCATE monitoring.events CASCADE",
    ],
)
def test_nothing_is_ever_changed(statement: str) -> None:
    tell(closed(1))
    with pytest.raises(psycopg.errors.RestrictViolation, match="append-only"), connect() as one:
        one.execute(statement)  # type: ignore[call-overload]
    assert len(told()) == 1


def test_some_are_chosen_by_time_or_id() -> None:
    tell(closed(1), closed(2), closed(3))
    first, second, third = told()
    with connect() as connection:
        assert read_events(connection, since=second.recorded_at) == [second, third]
        assert read_events(connection, ids=[third.event_id, first.event_id]) == [first, third]
        assert read_events(connection, ids=[]) == []
