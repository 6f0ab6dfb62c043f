"""The load generator at a fixed rate (an open loop): a slow answer does not slow the requests down."""

import asyncio
import itertools
import selectors
import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import cast

import httptools
import numpy as np

from bench.load import ANSWER_SECONDS, WARM_UP_SECONDS, Load
from churn.stack.processes import LOOPBACK

CONNECTIONS = 64


def paced(port: int, requests: Sequence[bytes], per_second: float, seconds: float) -> Load:
    """Send the requests over and over at `per_second` a second; the first half second does not count.

    Each latency runs from the instant at which the request was due, so waiting for a free connection, and
    delays of the generator itself, count in full.
    """
    # The timers of this loop are exact to microseconds; those of epoll and uvloop, to a millisecond.
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    try:
        return loop.run_until_complete(_paced(port, requests, per_second, seconds))
    finally:
        loop.close()


async def _paced(port: int, requests: Sequence[bytes], per_second: float, seconds: float) -> Load:
    loop = asyncio.get_running_loop()
    pace = _Pace(requests, per_second, seconds)
    for _ in range(CONNECTIONS):
        await loop.create_connection(lambda: _PacedClient(pace), LOOPBACK, port)
    pace.start()
    async with asyncio.timeout(WARM_UP_SECONDS + seconds + ANSWER_SECONDS):
        await pace.ended
    p50, p99 = map(float, np.percentile(pace.latencies, [50, 99]) * 1000)
    return Load(p50, p99, len(pace.latencies) / seconds, dict(pace.statuses))


class _Pace:
    """When each request is due, which ones wait for a connection, and which connections are free."""

    def __init__(self, requests: Sequence[bytes], per_second: float, seconds: float) -> None:
        self._requests = itertools.cycle(requests)
        self._interval = 1 / per_second
        self._count = round(per_second * (WARM_UP_SECONDS + seconds))
        self._uncounted = round(per_second * WARM_UP_SECONDS)
        self._sent = self._answered = 0
        # The numbers of requests that wait for a connection.
        self._due: deque[int] = deque()
        self._free: list[_PacedClient] = []
        self.latencies: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._begin = time.perf_counter()
        self._offset = self._loop.time() - self._begin
        self._tick()

    def _tick(self) -> None:
        while self._sent < self._count and self._at(self._sent) <= time.perf_counter():
            self._due.append(self._sent)
            self._sent += 1
        self._send()
        if self._sent < self._count:
            self._loop.call_at(self._at(self._sent) + self._offset, self._tick)

    def _at(self, number: int) -> float:
        return self._begin + number * self._interval

    def _send(self) -> None:
        while self._due and self._free:
            self._free.pop().send(self._due.popleft(), next(self._requests))

    def free(self, client: "_PacedClient") -> None:
        self._free.append(client)
        self._send()

    def answered(self, number: int, status: int) -> None:
        if number >= self._uncounted:
            self.latencies.append(time.perf_counter() - self._at(number))
            self.statuses[status] += 1
        self._answered += 1
        if self._answered == self._count and not self.ended.done():
            self.ended.set_result(None)

    def closed(self, client: "_PacedClient", error: Exception | None) -> None:
        """Go on without an idle connection, since servers close those; fail if it was in use."""
        if client in self._free:
            self._free.remove(client)
        elif not self.ended.done():
            self.ended.set_exception(error or ConnectionError("the server closed the connection"))


class _PacedClient(asyncio.Protocol):
    def __init__(self, pace: _Pace) -> None:
        self._pace = pace

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._pace.free(self)

    def send(self, number: int, request: bytes) -> None:
        self._number = number
        self._parser = httptools.HttpResponseParser(self)
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._pace.answered(self._number, self._parser.get_status_code())
        self._pace.free(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._pace.closed(self, error)
