import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench.load import constant_server, load, request
from bench.paced import CONNECTIONS, paced
from churn.stack.processes import free_port


def test_every_answer_is_counted_on_every_connection() -> None:
    port = free_port()
    with constant_server(port):
        measured = load(port, [request("GET", "/"), request("POST", "/", b"{}")], 4, seconds=2.0)
    assert set(measured.statuses) == {200}
    assert sum(measured.statuses.values()) == round(measured.per_second * 2.0)
    assert 0 < measured.p50_ms <= measured.p99_ms


def test_a_server_that_is_not_there_is_no_result() -> None:
    with pytest.raises(OSError, match="refused"):
        load(free_port(), [request("GET", "/")], 1, seconds=0.2)


def test_a_fixed_rate_is_kept() -> None:
    port = free_port()
    with constant_server(port):
        measured = paced(port, [request("GET", "/"), request("POST", "/", b"{}")], 500, seconds=0.4)
    assert measured.statuses == {200: 200}
    assert measured.per_second == 500
    assert 0 < measured.p50_ms <= measured.p99_ms


@contextmanager
def stalling_server(port: int, first_answer_seconds: float) -> Iterator[None]:
    """Answer nothing for some seconds after the first request, then everything at once."""
    loop, held = asyncio.new_event_loop(), threading.Event()

    class Answers(asyncio.Protocol):
        may_answer: asyncio.Event | None = None

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self._transport = transport

        def data_received(self, data: bytes) -> None:
            if Answers.may_answer is None:
                Answers.may_answer = asyncio.Event()
                loop.call_later(first_answer_seconds, Answers.may_answer.set)
            loop.create_task(self._answer(Answers.may_answer))

        async def _answer(self, may_answer: asyncio.Event) -> None:
            await may_answer.wait()
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    async def serve() -> None:
        await loop.create_server(Answers, "127.0.0.1", port)
        held.set()

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(serve(), loop).result(10)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_time_spent_waiting_for_a_stalled_server_counts_from_when_each_was_due() -> None:
    """With all connections held up, later requests are not even sent; a closed loop would never know."""
    port, rate, stall = free_port(), 4 * CONNECTIONS, 1.5
    with stalling_server(port, stall):
        measured = paced(port, [request("GET", "/")], rate, seconds=1.0)
    # Counted requests were due from 0.5 s on; those of the first second or so waited for the rest of 1.5 s.
    assert measured.statuses == {200: rate}
    assert measured.p50_ms > 0.9 * 1000 * (stall - 1.0)
    assert measured.p99_ms > 0.9 * 1000 * (stall - 0.5)
