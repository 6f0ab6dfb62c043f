"""At least once, to each target, at growing intervals; then given up, and said so."""

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

from churn.database import connect
from churn.events.delivery import Sending, deliver_due, given_up, read_progress, replay
from churn.events.outbox import Message, record_event
from churn.events.targets import NotDelivered, Slack, Webhook, targets_of
from churn.settings import EventSettings
from tests.kit.events import EXAMPLES, closed, tell, told
from tests.kit.webhook_receiver import NOW, SECRET, Receiver, receiving, verified

MINUTE = dt.timedelta(minutes=1)
DELAYS = (MINUTE, 5 * MINUTE)

pytestmark = pytest.mark.usefixtures("settings")


@pytest.fixture(scope="module")
def running() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def receiver(running: Receiver) -> Receiver:
    running.clear()
    deliver(running)  # a target is told what happens after it was first seen
    return running


def deliver(receiver: Receiver, now: dt.datetime = NOW) -> list[Sending]:
    return deliver_due([Webhook(receiver.url, SECRET)], DELAYS, now)


def states() -> list[tuple[str, str, int]]:
    with connect() as connection:
        return [(each.target, each.state, each.attempts) for each in read_progress(connection)]


def test_every_kind_arrives_once_signed_and_in_order(receiver: Receiver) -> None:
    tell(*EXAMPLES)
    assert [attempt.problem for attempt in deliver(receiver)] == [""] * len(EXAMPLES)
    assert deliver(receiver, NOW + MINUTE) == []
    bodies = [verified(each) for each in receiver.requests]
    assert [each["type"] for each in bodies] == [each.kind for each in EXAMPLES]
    ids = [each.headers["webhook-id"] for each in receiver.requests]
    assert ids == [str(each.event_id) for each in told()]
    assert {state for _, state, _ in states()} == {"delivered"}


def test_what_fails_twice_is_sent_again_at_growing_intervals(receiver: Receiver) -> None:
    tell(closed(1))
    receiver.answers = [500, 503]
    [attempt] = deliver(receiver)
    assert (attempt.problem, attempt.again_at) == ("answered 500", NOW + MINUTE)
    assert deliver(receiver, NOW + MINUTE / 2) == []
    [attempt] = deliver(receiver, NOW + MINUTE)
    assert attempt.again_at == NOW + 6 * MINUTE
    assert states() == [("webhook", "waiting", 2)]
    assert deliver(receiver, NOW + 5 * MINUTE) == []
    [attempt] = deliver(receiver, NOW + 6 * MINUTE)
    assert attempt.problem == ""
    assert states() == [("webhook", "delivered", 3)]
    assert len({each.headers["webhook-id"] for each in receiver.requests}) == 1
    assert len({each.headers["webhook-timestamp"] for each in receiver.requests}) == 3


def test_in_the_end_it_is_given_up_and_said(receiver: Receiver) -> None:
    tell(closed(1))
    receiver.answers = [500, 500, 404]
    assert given_up() == []
    for minutes in (0, 1, 6):
        [attempt] = deliver(receiver, NOW + minutes * MINUTE)
    assert attempt.is_given_up
    [message] = told()
    assert str(attempt) == (
        f"month.closed {message.event_id} to webhook: answered 404; given up:"
        f" churn events replay {message.event_id}"
    )
    assert deliver(receiver, NOW + dt.timedelta(days=9)) == []
    assert given_up() == [
        "1 event was not delivered to webhook (answered 404) and given up: churn events list"
    ]


def test_a_replay_sends_under_the_same_id_also_what_was_delivered_or_given_up(
    receiver: Receiver,
) -> None:
    tell(closed(1), closed(2))
    deliver(receiver)
    first = [each.headers["webhook-id"] for each in receiver.requests]
    target = Webhook(receiver.url, SECRET)
    with connect() as connection:
        replay(connection, [target], [told()[1].event_id], NOW)
    deliver(receiver)
    assert [each.headers["webhook-id"] for each in receiver.requests] == [*first, first[1]]


def test_a_target_that_fails_is_left_alone_and_holds_up_no_other(receiver: Receiver) -> None:
    tell(closed(1), closed(2))
    with receiving() as slack:
        targets = [Webhook(receiver.url, SECRET), Slack(slack.url)]
        deliver_due(targets, DELAYS, NOW)
        tell(closed(3))
        receiver.answers = [500]
        attempts = deliver_due(targets, DELAYS, NOW)
        # Slack is new, so it is told of the third alone, which the first call did not know.
        assert [(each.target, each.problem) for each in attempts] == [
            ("webhook", "answered 500"),
            ("slack", ""),
        ]
        assert [json.loads(each.body) for each in slack.requests] == [
            {"text": "2024-03 is closed: 10 users are published"}
        ]
    with connect() as connection:
        earlier = [each.target for each in read_progress(connection, state="earlier")]
    assert earlier == ["slack", "slack"]


def test_an_event_that_is_committed_late_is_delivered_although_its_number_is_lower(
    receiver: Receiver,
) -> None:
    with connect() as late:
        record_event(late, closed(1))
        tell(closed(2))
        deliver(receiver)
        assert len(receiver.requests) == 1
    deliver(receiver)
    assert len(receiver.requests) == 2


@dataclass
class DiesAfterSending:
    """Sends, and is ended before it can say so; what it knows then is what a killed process leaves."""

    name: ClassVar[str] = "webhook"
    receiver: Receiver
    ids: list[str] = field(default_factory=list)

    def send(self, message: Message, now: dt.datetime) -> None:
        Webhook(self.receiver.url, SECRET).send(message, now)
        raise KeyboardInterrupt


def test_a_delivery_that_is_ended_before_it_is_noted_is_repeated_under_its_id(
    receiver: Receiver,
) -> None:
    tell(closed(1))
    with pytest.raises(KeyboardInterrupt):
        deliver_due([DiesAfterSending(receiver)], DELAYS, NOW)
    assert states() == [("webhook", "waiting", 0)]
    [attempt] = deliver(receiver)
    assert attempt.problem == ""
    first, second = receiver.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body


@dataclass
class SendsWhileAnotherLooks:
    """Lets another sender look for what is due in the middle of a delivery."""

    name: ClassVar[str] = "webhook"
    receiver: Receiver
    seen: list[list[Sending]] = field(default_factory=list)

    def send(self, message: Message, now: dt.datetime) -> None:
        self.seen.append(deliver(self.receiver))
        raise NotDelivered("nobody took it")


def test_two_at_once_do_not_send_the_same(receiver: Receiver) -> None:
    tell(closed(1))
    slow = SendsWhileAnotherLooks(receiver)
    [attempt] = deliver_due([slow], DELAYS, NOW)
    assert attempt.problem == "nobody took it"
    assert slow.seen == [[]]
    assert receiver.requests == []


@pytest.mark.parametrize(
    ("setting", "error"),
    [
        ({"slack_url": "http://127.0.0.1:port/top-secret-path"}, "InvalidURL"),
        ({"mail_to": "ops@example.org\ndata@example.org"}, "ValueError"),
    ],
)
def test_settings_that_cannot_be_used_are_a_failed_sending_and_hold_up_no_other(
    receiver: Receiver, setting: dict[str, Any], error: str
) -> None:
    mail = {"mail_from": "churn@example.org", "smtp_host": "127.0.0.1"}
    [broken] = targets_of(EventSettings(**mail, **setting))
    targets = [broken, Webhook(receiver.url, SECRET)]
    deliver_due(targets, DELAYS, NOW)  # the first is new
    tell(closed(1))
    attempts = deliver_due(targets, DELAYS, NOW)
    assert [(each.target, each.problem) for each in attempts] == [
        (broken.name, f"it could not be sent ({error})"),
        ("webhook", ""),
    ]
    assert attempts[0].again_at == NOW + MINUTE
    assert (broken.name, "waiting", 1) in states()


@dataclass
class TakesHalfAMinute:
    """Takes every event, while a clock that stands otherwise goes on by half a minute."""

    name: ClassVar[str] = "slow"
    seconds: float = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def send(self, message: Message, now: dt.datetime) -> None:
        self.seconds += 30


def test_a_slow_target_leaves_time_for_those_after_it(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = TakesHalfAMinute()
    targets = [slow, Webhook(receiver.url, SECRET)]
    deliver_due(targets, DELAYS, NOW)  # the first is new
    tell(closed(1), closed(2), closed(3))
    monkeypatch.setattr("churn.events.delivery.time", slow)
    attempts = deliver_due(targets, DELAYS, NOW)
    assert [each.target for each in attempts] == ["slow", *["webhook"] * 3]
    assert [each.target for each in deliver_due(targets, DELAYS, NOW)] == ["slow"]


def test_without_a_target_nothing_is_done() -> None:
    tell(closed(1))
    assert deliver_due([], DELAYS, NOW) == []
    assert states() == []


def test_by_default_it_is_tried_for_a_day() -> None:
    delays = EventSettings().retry_delays
    assert list(delays) == sorted(delays)
    assert sum(delays, dt.timedelta()) > dt.timedelta(days=1)
