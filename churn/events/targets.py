"""Where events are sent, and in which form: a signed webhook, Slack's incoming webhook, or mail.

What a target answers decides whether it has the event; what it answers with is not kept, and neither an
address nor a secret is ever part of a message about it. Signatures: https://www.standardwebhooks.com
"""

import base64
import datetime as dt
import hashlib
import hmac
import json
import logging
import smtplib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any, ClassVar, Protocol

from churn.events.outbox import Message
from churn.settings import EventSettings

SECONDS = 10.0
SECRET_PREFIX = "whsec_"  # noqa: S105  (of every secret, by the standard)


class NotDelivered(Exception):
    """A target does not have the event; the text says why, and names no address."""


class Target(Protocol):
    """Somewhere to send events."""

    name: ClassVar[str]

    def send(self, message: Message, now: dt.datetime) -> None:
        """Send an event; NotDelivered where the target does not say that it has it."""


def targets_of(settings: EventSettings) -> list[Target]:
    """Return the targets that the settings name; none by default."""
    targets: list[Target] = []
    if url := settings.url.get_secret_value():
        targets.append(Webhook(url, settings.secret.get_secret_value()))
    if url := settings.slack_url.get_secret_value():
        targets.append(Slack(url))
    if settings.mail_to:
        targets.append(Mail(settings))
    return targets


def standard_body(message: Message) -> str:
    """Return an event as JSON, always the same text."""
    content = {
        "type": message.kind,
        "timestamp": message.recorded_at.astimezone(dt.UTC).isoformat(),
        "data": message.data,
    }
    return json.dumps(content, ensure_ascii=False)


def signature(secret: str, message_id: str, timestamp: int, body: str) -> str:
    """Return the value of `webhook-signature` for a body that is sent at a time."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    digest = hmac.digest(key, f"{message_id}.{timestamp}.{body}".encode(), hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"


@dataclass(frozen=True)
class Webhook:
    """A receiver of Standard Webhooks, which can tell by the signature who sent an event and when."""

    name: ClassVar[str] = "webhook"
    url: str = field(repr=False)
    secret: str = field(repr=False)

    def send(self, message: Message, now: dt.datetime) -> None:
        """Post the event as JSON, signed."""
        body, timestamp = standard_body(message), int(now.timestamp())
        message_id = str(message.event_id)
        _post(
            self.url,
            body,
            {
                "webhook-id": message_id,
                "webhook-timestamp": str(timestamp),
                "webhook-signature": signature(self.secret, message_id, timestamp, body),
            },
        )


@dataclass(frozen=True)
class Slack:
    """An incoming webhook of Slack, or of one of those that take its JSON; its address is its secret."""

    name: ClassVar[str] = "slack"
    url: str = field(repr=False)

    def send(self, message: Message, now: dt.datetime) -> None:
        """Post the event's sentence."""
        _post(self.url, json.dumps(slack_body(message), ensure_ascii=False), {})


def slack_body(message: Message) -> dict[str, Any]:
    """Return the event's sentence as Slack takes it, with nothing in it that it would read as markup."""
    text = message.summary
    for character, written in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(character, written)
    return {"text": text}


@dataclass(frozen=True)
class Mail:
    """A mail to whoever the settings name, through one SMTP server."""

    name: ClassVar[str] = "mail"
    settings: EventSettings = field(repr=False)

    def send(self, message: Message, now: dt.datetime) -> None:
        """Send the event's sentence, and what it carries below it."""
        settings = self.settings
        mail = mail_of(message, settings, now)
        try:
            with smtplib.SMTP(settings.smtp_host, settings.smtp_port, timeout=SECONDS) as server:
                if settings.smtp_starttls:
                    server.starttls(context=ssl.create_default_context())
                if settings.smtp_user:
                    server.login(settings.smtp_user, settings.smtp_password.get_secret_value())
                refused = server.send_message(mail)
        except smtplib.SMTPResponseException as error:
            raise NotDelivered(f"the mail server answered {error.smtp_code}") from error
        except (OSError, smtplib.SMTPException) as error:
            raise NotDelivered(f"no answer ({type(error).__name__})") from error
        # The server took it for the others, who get it again under the same Message-ID.
        if refused:
            raise NotDelivered(f"the mail server refused recipients: {len(refused)}")


def mail_of(message: Message, settings: EventSettings, now: dt.datetime) -> EmailMessage:
    """Return an event as a mail; the same event has the same Message-ID, however often it is sent."""
    mail = EmailMessage()
    mail["Subject"] = f"[StreamFlow churn] {message.summary}"
    mail["From"] = settings.mail_from
    mail["To"] = settings.mail_to
    mail["Date"] = format_datetime(now)
    mail["Message-ID"] = f"<{message.event_id}@streamflow-churn>"
    mail["Auto-Submitted"] = "auto-generated"
    carried = json.dumps(message.data, ensure_ascii=False, indent=2)
    mail.set_content(f"{message.summary}\n\n{message.kind}, {message.recorded_at}\n{carried}\n")
    return mail


def _post(url: str, body: str, headers: Mapping[str, str]) -> None:
    """Post JSON; a redirect is not followed, since it would lead elsewhere than the operator said.

    Raises:
        NotDelivered: the answer is no 2xx, or there is none.
    """
    import httpx

    # On INFO it logs the whole address, which may be a secret.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        with httpx.stream(
            "POST",
            url,
            content=body.encode(),
            headers={"content-type": "application/json", **headers},
            timeout=SECONDS,
            follow_redirects=False,
        ) as answer:
            if not answer.is_success:
                raise NotDelivered(f"answered {answer.status_code}")
    except httpx.HTTPError as error:
        raise NotDelivered(f"no answer ({type(error).__name__})") from error
