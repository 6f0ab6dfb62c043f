"""Joining calls that wait at the same time into one: a read of forty users costs little more than of one."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from api.errors import NotReadyError, OverloadedError

MOST_KEYS = 64  # of one call: it must not hold up the others for long
CALLS_AT_ONCE = 1  # a second one would only share the same questions out among two round trips
MOST_WAITING = 2_000  # keys; who comes then is told so at once

K = TypeVar("K")
V = TypeVar("V")
_Waiting = tuple[K, asyncio.Future[V]]


class Coalescer(Generic[K, V]):
    """Calls `load` with all the keys that have come in since the call before.

    A call begins after each of its keys was asked for, so no answer is older than its question; keys go
    in the order in which they came, so none waits for ever. A key whose caller has gone is left out.
    """

    def __init__(
        self,
        load: Callable[[Sequence[K]], Awaitable[Sequence[V]]],
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self._load, self._most_waiting = load, most_waiting
        self._waiting: deque[_Waiting[K, V]] = deque()
        self._calls: set[asyncio.Task[None]] = set()
        self._due = False

    async def get(self, key: K) -> V:
        """Return what a call of `load` returned for this key.

        Raises:
            OverloadedError: too many keys are waiting already.
            Exception: whatever `load` raised for this key, or for all.
        """
        if len(self._waiting) >= self._most_waiting:
            raise OverloadedError(self._most_waiting)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[V] = loop.create_future()
        self._waiting.append((key, future))
        self._call_soon(loop)
        return await future

    def _call_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        """Call once everybody who is about to ask in this turn of the loop has done so."""
        if not self._due and self._waiting and len(self._calls) < CALLS_AT_ONCE:
            self._due = True
            loop.call_soon(self._begin, loop)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = False
        batch: list[_Waiting[K, V]] = []
        while self._waiting and len(batch) < MOST_KEYS:
            key, future = self._waiting.popleft()
            if not future.done():  # else its caller was cancelled
                batch.append((key, future))
        if batch:
            call = loop.create_task(self._call(batch))
            self._calls.add(call)
            call.add_done_callback(self._ended)

    def _ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        self._call_soon(call.get_loop())

    async def _call(self, batch: Sequence[_Waiting[K, V]]) -> None:
        try:
            found = await self._load([key for key, _ in batch])
        except asyncio.CancelledError:
            for _, future in batch:
                future.cancel()
            raise
        except Exception as error:  # the callers', each of whom gets it
            await self._failed(batch, error)
        else:
            for (_, future), value in zip(batch, found, strict=True):
                if not future.done():
                    future.set_result(value)

    async def _failed(self, batch: Sequence[_Waiting[K, V]], error: Exception) -> None:
        if len(batch) > 1 and not isinstance(error, NotReadyError):
            for one in batch:  # one key may have spoilt it for all
                await self._call([one])
            return
        for _, future in batch:
            if not future.done():
                future.set_exception(error)
                future.exception()  # seen, even if its caller goes now
