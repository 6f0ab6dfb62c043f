"""The load generator: connections that each keep one request in flight for some seconds (a closed loop)."""

import asyncio
import itertools
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

import httptools
import numpy as np
import uvloop

from churn.stack.processes import LOOPBACK

WARM_UP_SECONDS, ANSWER_SECONDS = 0.5, 120.0
_CONSTANT = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


@dataclass(frozen=True)
class Load:
    """The latencies, the rate and the statuses that the clients measured in one run."""

    p50_ms: float
    p99_ms: float
    per_second: float
    statuses: dict[int, int]


def request(method: str, path: str, body: bytes = b"") -> bytes:
    """Return the bytes of a request, which are made before the clock runs."""
    head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\n"
    if body:
        head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


def load(port: int, requests: Sequence[bytes], connections: int, seconds: float) -> Load:
    """Send the requests over and over on `connections` connections; the first half second does not count."""
    return uvloop.run(_load(port, requests, connections, seconds))


async def _load(port: int, requests: Sequence[bytes], connections: int, seconds: float) -> Load:
    loop = asyncio.get_running_loop()
    begin = time.perf_counter() + WARM_UP_SECONDS
    run = _Run(itertools.cycle(requests), begin, begin + seconds)
    ends = []
    for _ in range(connections):
        _, client = await loop.create_connection(lambda: _ClosedLoopClient(run), LOOPBACK, port)
        ends.append(client.ended)
    async with asyncio.timeout(WARM_UP_SECONDS + seconds + ANSWER_SECONDS):
        await asyncio.gather(*ends)
    if not run.latencies:
        raise TimeoutError(f"port {port} answered nothing in {seconds} s")
    p50, p99 = map(float, np.percentile(run.latencies, [50, 99]) * 1000)
    return Load(p50, p99, len(run.latencies) / seconds, dict(run.statuses))


@dataclass
class _Run:
    requests: Iterator[bytes]
    begin: float
    end: float
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)


class _ClosedLoopClient(asyncio.Protocol):
    def __init__(self, run: _Run) -> None:
        self._run = run
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._send()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        now = time.perf_counter()
        # It counts whenever it was sent, so slow answers count in full.
        if self._run.begin <= now < self._run.end:
            self._run.latencies.append(now - self._sent)
            self._run.statuses[self._parser.get_status_code()] += 1
        if now < self._run.end:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if time.perf_counter() < self._run.end:
            self.ended.set_exception(error or ConnectionError("the server closed the connection"))
        else:
            self.ended.set_result(None)

    def _send(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._sent = time.perf_counter()
        self._transport.write(next(self._run.requests))


class _Constant(asyncio.Protocol):
    """Answers every packet with the same bytes, so that what remains is the generator's own cost."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        self._transport.write(_CONSTANT)


@contextmanager
def constant_server(port: int) -> Iterator[None]:
    """Run a server that returns a constant, in its own process."""
    context = multiprocessing.get_context("spawn")
    listening = context.Event()
    process = context.Process(target=_serve, args=(port, listening), daemon=True)
    process.start()
    try:
        if not listening.wait(30):
            raise TimeoutError("the constant server did not start")
        yield
    finally:
        process.terminate()
        process.join()


def _serve(port: int, listening: "multiprocessing.synchronize.Event") -> None:
    uvloop.run(_serve_forever(port, listening))


async def _serve_forever(port: int, listening: "multiprocessing.synchronize.Event") -> None:
    server = await asyncio.get_running_loop().create_server(_Constant, LOOPBACK, port)
    listening.set()
    await server.serve_forever()
