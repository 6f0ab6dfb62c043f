"""A receiver of webhooks on the loopback: real HTTP, which answers as it is told to and keeps what came."""

import datetime as dt
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest import mock

import standardwebhooks

# When events are sent in tests, by the receiver's clock, too.
NOW = dt.datetime(2026, 4, 1, 6, tzinfo=dt.UTC)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # 24 bytes


@dataclass
class Received:
    """One request: its headers, in lower case, and its body."""

    headers: dict[str, str]
    body: str


@dataclass
class Receiver:
    """What a receiver has got, and what it answers: each of `answers` once, then 204."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    requests: list[Received] = field(default_factory=list)
    redirect_to: str = ""

    def clear(self) -> None:
        self.answers, self.requests, self.redirect_to = [], [], ""


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Run a receiver; yields it with its address, in which something stands that nobody else may see."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.requests.append(Received(headers, body))
            self.send_response(receiver.answers.pop(0) if receiver.answers else 204)
            if receiver.redirect_to:
                self.send_header("location", receiver.redirect_to)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        receiver.url = f"http://127.0.0.1:{server.server_port}/hooks/top-secret-path"
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()


def verified(request: Received) -> Any:
    """Return what a receiver reads whose clock says NOW; where the signature is wrong, its library raises."""

    class Clock(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:
            return NOW

    with mock.patch("standardwebhooks.webhooks.datetime", Clock):
        return standardwebhooks.Webhook(SECRET).verify(request.body, request.headers)
