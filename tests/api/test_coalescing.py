import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.coalescing import CALLS_AT_ONCE, MOST_KEYS, Coalescer
from api.errors import NotReadyError, OverloadedError


class Store:
    """Answers a call with its keys in capitals, once it may; a call sees the state in which it began."""

    def __init__(self, *, held: bool = False, most_waiting: int = 1000) -> None:
        self.calls: list[list[str]] = []
        self.state = 0
        self.may_answer = asyncio.Event()
        if not held:
            self.may_answer.set()
        self.together = Coalescer(self.load, most_waiting)

    async def load(self, keys: Sequence[str]) -> list[tuple[str, int]]:
        self.calls.append(list(keys))
        state = self.state
        await self.may_answer.wait()
        if "down" in keys:
            raise NotReadyError("store", "down")
        if "bad" in keys:
            raise ValueError("bad")
        return [(key.upper(), state) for key in keys]

    def ask(self, *keys: str) -> list[asyncio.Task[tuple[str, int]]]:
        return [asyncio.create_task(self.together.get(key)) for key in keys]


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    async def in_time() -> None:
        async with asyncio.timeout(300):
            await coroutine

    asyncio.run(in_time())


def test_who_asks_in_the_same_turn_shares_one_call() -> None:
    async def scene() -> None:
        store = Store()
        answers = await asyncio.gather(*store.ask("a", "b", "a"))
        assert answers == [("A", 0), ("B", 0), ("A", 0)]
        assert store.calls == [["a", "b", "a"]]

    run(scene())


def test_one_who_asks_alone_waits_for_nobody() -> None:
    async def scene() -> None:
        store = Store(held=True)
        store.ask("a")
        await turns()
        assert store.calls == [["a"]]
        store.may_answer.set()

    run(scene())


def test_others_gather_while_calls_are_on_their_way_and_keep_their_order() -> None:
    async def scene() -> None:
        store, asked = Store(held=True), []
        for number in range(CALLS_AT_ONCE):
            asked += store.ask(f"first{number}")
            await turns()
        later = [f"k{number}" for number in range(3 * MOST_KEYS)]
        for key in later:
            asked += store.ask(key)
            await turns(1)
        assert len(store.calls) == CALLS_AT_ONCE
        store.may_answer.set()
        answers = await asyncio.gather(*asked)
        assert [key for key, _ in answers[CALLS_AT_ONCE:]] == [key.upper() for key in later]
        assert [len(call) for call in store.calls[CALLS_AT_ONCE:]] == [MOST_KEYS] * 3
        assert [key for call in store.calls[CALLS_AT_ONCE:] for key in call] == later

    run(scene())


def test_an_answer_is_never_older_than_its_question() -> None:
    async def scene() -> None:
        store = Store(held=True)
        [before] = store.ask("a")
        await turns()
        store.state = 1
        [after] = store.ask("a")
        await turns()
        store.may_answer.set()
        assert [await before, await after] == [("A", 0), ("A", 1)]

    run(scene())


def test_a_caller_that_goes_leaves_the_others_theirs() -> None:
    async def scene() -> None:
        store = Store(held=True)
        sent, stays = store.ask("sent", "stays")
        await turns()
        more = [one for n in range(CALLS_AT_ONCE) for one in store.ask(f"fill{n}")]
        await turns()
        unsent, last = store.ask("unsent", "last")
        await turns()
        sent.cancel()
        unsent.cancel()
        await turns()
        store.may_answer.set()
        assert await stays == ("STAYS", 0)
        assert await last == ("LAST", 0)
        await asyncio.gather(*more)
        assert "unsent" not in {key for call in store.calls for key in call}
        for gone in (sent, unsent):
            with pytest.raises(asyncio.CancelledError):
                await gone

    run(scene())


def test_a_key_that_cannot_be_read_fails_alone() -> None:
    async def scene() -> None:
        store = Store()
        a, bad, b = await asyncio.gather(*store.ask("a", "bad", "b"), return_exceptions=True)
        assert (a, b) == (("A", 0), ("B", 0))
        assert isinstance(bad, ValueError)

    run(scene())


def test_a_store_that_is_down_is_asked_once_and_tells_all() -> None:
    async def scene() -> None:
        store = Store()
        answers = await asyncio.gather(*store.ask("a", "down", "b"), return_exceptions=True)
        assert all(isinstance(one, NotReadyError) for one in answers)
        assert store.calls == [["a", "down", "b"]]
        assert await store.together.get("c") == ("C", 0)

    run(scene())


def test_too_many_are_told_at_once() -> None:
    async def scene() -> None:
        store = Store(held=True, most_waiting=2)
        sent = []
        for number in range(CALLS_AT_ONCE):
            sent += store.ask(f"sent{number}")
            await turns()
        waiting = store.ask("a", "b")
        await turns()
        with pytest.raises(OverloadedError, match="2 requests are waiting already"):
            await store.together.get("c")
        store.may_answer.set()
        assert len(await asyncio.gather(*sent, *waiting)) == CALLS_AT_ONCE + 2
        assert await store.together.get("c") == ("C", 0)

    run(scene())


def test_stopping_in_the_middle_leaves_nobody_waiting() -> None:
    async def scene() -> None:
        store = Store(held=True)
        asked = store.ask("a", "b")
        await turns()
        [call] = store.together._calls
        call.cancel()
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(one, asyncio.CancelledError) for one in outcomes)

    run(scene())


STEPS = st.lists(
    st.tuples(st.text("abc", min_size=1, max_size=2), st.integers(0, 4), st.booleans()), max_size=60
)


@given(STEPS)
def test_whoever_stays_is_answered_with_their_own(steps: list[tuple[str, int, bool]]) -> None:
    async def scene() -> None:
        store, stay, sent = Store(), [], 0
        for key, pause, goes in steps:
            [task] = store.ask(key)
            await turns(pause)
            if goes:
                task.cancel()
            else:
                stay.append((key, task))
            sent += 1
        for key, task in stay:
            assert await task == (key.upper(), 0)
        assert len(stay) <= sum(map(len, store.calls)) <= sent
        await turns()
        assert not store.together._calls
        assert not store.together._waiting

    run(scene())
