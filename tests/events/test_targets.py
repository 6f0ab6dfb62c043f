"""Each form in which an event is sent, as its real receiver takes it, and what is said where none does."""

import dataclasses
import email
import json
import logging
import uuid
from collections.abc import Iterator
from email.message import EmailMessage
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from standardwebhooks import WebhookVerificationError

from churn.events.kinds import AlarmRaised, data_of
from churn.events.outbox import Message
from churn.events.targets import Mail, NotDelivered, Slack, Webhook, targets_of
from churn.settings import EventSettings
from churn.stack.processes import free_port
from tests.kit.events import EXAMPLES, MARCH, RELEASE
from tests.kit.webhook_receiver import NOW, SECRET, Receiver, receiving, verified


@pytest.fixture(scope="module")
def running() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def receiver(running: Receiver) -> Receiver:
    running.clear()
    return running


def message(event: Any = EXAMPLES[0]) -> Message:
    return Message(uuid.uuid4(), event.kind, data_of(event), NOW)


def test_by_default_there_is_no_target() -> None:
    assert targets_of(EventSettings()) == []


def test_a_webhook_is_signed_as_standard_webhooks_verify_it(receiver: Receiver) -> None:
    sent = message()
    Webhook(receiver.url, SECRET).send(sent, NOW)
    [request] = receiver.requests
    assert verified(request) == {
        "type": "month.closed",
        "timestamp": NOW.isoformat(),
        "data": sent.data,
    }
    assert request.headers["webhook-id"] == str(sent.event_id)
    assert request.headers["content-type"] == "application/json"
    with pytest.raises(WebhookVerificationError):
        verified(dataclasses.replace(request, body=request.body.replace("7043", "7044")))


def test_slack_gets_the_sentence_without_markup(receiver: Receiver) -> None:
    alarm = AlarmRaised("drift", MARCH, RELEASE, ("<!channel> & more",))
    Slack(receiver.url).send(message(alarm), NOW)
    [request] = receiver.requests
    assert json.loads(request.body) == {
        "text": "drift alarm in 2024-03 about release 98bfb66ca93d: &lt;!channel&gt; &amp; more"
    }


@pytest.mark.parametrize("status", [301, 307, 400, 410, 500])
def test_what_is_no_success_is_no_delivery_and_no_redirect_is_followed(
    receiver: Receiver, status: int
) -> None:
    receiver.answers, receiver.redirect_to = [status], receiver.url
    with pytest.raises(NotDelivered, match=f"^answered {status}$"):
        Webhook(receiver.url, SECRET).send(message(), NOW)
    assert len(receiver.requests) == 1


def test_neither_address_nor_secret_is_told_to_anybody(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    receiver.answers = [204, 500]
    target = Webhook(receiver.url, SECRET)
    target.send(message(), NOW)
    nobody = f"http://127.0.0.1:{free_port()}/top-secret-path"
    texts = [repr(target), repr(Slack(nobody))]
    for failing in (target, Slack(nobody)):
        with pytest.raises(NotDelivered) as error:
            failing.send(message(), NOW)
        texts.append(str(error.value))
    texts += [record.getMessage() for record in caplog.records]
    assert not [text for text in texts if "top-secret-path" in text or SECRET in text]
    assert texts[3] == "no answer (ConnectError)"


class Postbox:
    """What aiosmtpd hands over; `refuse` is what it answers instead, `unknown` whom it takes no mail for."""

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], EmailMessage]] = []
        self.refuse = ""
        self.unknown = ""

    async def handle_RCPT(  # noqa: N802
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        if address == self.unknown:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        if self.refuse:
            return self.refuse
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.mails.append((envelope.rcpt_tos, mail))
        return "250 OK"


@pytest.fixture
def postbox() -> Iterator[tuple[Postbox, EventSettings]]:
    box, port = Postbox(), free_port()
    server = Controller(box, hostname="127.0.0.1", port=port)
    server.start()
    yield (
        box,
        EventSettings(
            mail_to="ops@example.org, data@example.org",
            mail_from="churn@example.org",
            smtp_host="127.0.0.1",
            smtp_port=port,
            smtp_starttls=False,
        ),
    )
    server.stop()


def test_a_mail_says_it_and_carries_it(postbox: tuple[Postbox, EventSettings]) -> None:
    box, settings = postbox
    [target] = targets_of(settings)
    sent = message()
    target.send(sent, NOW)
    target.send(sent, NOW)
    (people, mail), (_, again) = box.mails
    assert people == ["ops@example.org", "data@example.org"]
    assert mail["Subject"] == "[StreamFlow churn] 2024-03 is closed: 7,043 users are published"
    assert str(sent.event_id) in mail["Message-ID"]
    assert again["Message-ID"] == mail["Message-ID"]
    assert '"users": 7043' in mail.get_content()


def test_a_mail_that_is_not_taken_is_not_delivered(
    postbox: tuple[Postbox, EventSettings],
) -> None:
    box, settings = postbox
    box.refuse = "451 later"
    with pytest.raises(NotDelivered, match=r"^the mail server answered 451$"):
        Mail(settings).send(message(), NOW)
    # The server offers no TLS, and without it nothing is sent.
    with pytest.raises(NotDelivered, match="SMTPNotSupportedError"):
        Mail(settings.model_copy(update={"smtp_starttls": True})).send(message(), NOW)
    nobody = settings.model_copy(update={"smtp_port": free_port()})
    with pytest.raises(NotDelivered, match="ConnectionRefusedError"):
        Mail(nobody).send(message(), NOW)
    assert box.mails == []


def test_a_mail_that_is_not_taken_for_everybody_is_not_delivered(
    postbox: tuple[Postbox, EventSettings],
) -> None:
    box, settings = postbox
    box.unknown = "data@example.org"
    with pytest.raises(NotDelivered, match=r"^the mail server refused recipients: 1$"):
        Mail(settings).send(message(), NOW)
    assert [people for people, _ in box.mails] == [["ops@example.org"]]
