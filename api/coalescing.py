"""Joining calls that wait at the same time into one: a read of forty users costs little more than of one."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from api.errors import NotReadyError, OverloadedError

# The most keys in one call, which must not hold up the others for long.
MOST_KEYS = 64
# A second call at a time would only split the same keys between two round trips.
CALLS_AT_ONCE = 1
# With this many keys waiting, further ones are refused at once.
MOST_WAITING = 2_000

K = TypeVar("K")
V = TypeVar("V")
_Waiting = tuple[K, asyncio.Future[V]]


class Coalescer(Generic[K, V]):
    """Calls `load` with all the keys that have come in since the last call.

    A call begins after each of its keys was requested, so no answer is older than its request. Keys are taken
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
        """Begin a call once all requests of this turn of the event loop have come in."""
        if not self._due and self._waiting and len(self._calls) < CALLS_AT_ONCE:
            self._due = True
            loop.call_soon(self._begin, loop)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = False
        batch: list[_Waiting[K, V]] = []
        while self._waiting and len(batch) < MOST_KEYS:
            key, future = self._waiting.popleft()
            # A future is done already if its caller was cancelled.
            if not future.done():
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
            values = await self._load([key for key, _ in batch])
        except asyncio.CancelledError:
            for _, future in batch:
                future.cancel()
            raise
        except Exception as error:
            # Each caller gets it.
            await self._failed(batch, error)
        else:
            for (_, future), value in zip(batch, values, strict=True):
                if not future.done():
                    future.set_result(value)

    async def _failed(self, batch: Sequence[_Waiting[K, V]], error: Exception) -> None:
        if len(batch) > 1 and not isinstance(error, NotReadyError):
            # A single key may have failed the call for all.
            for one in batch:
                await self._call([one])
            return
        for _, future in batch:
            if not future.done():
                future.set_exception(error)
                # Marks the exception as retrieved, in case its caller goes away now.
                future.exception()
