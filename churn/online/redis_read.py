"""Reading the copy of the online table in Redis, blocking and not.

A reader asks for the key that names the present copy, and for the rows of the copy that it knows, in one
round trip, and asks again where that key has come to name another. So no answer mixes two copies. What was
lost is refused, never answered as unknown. How a copy is made is `redis_copy`'s.
"""

import datetime as dt
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from churn.contract.structure import View
from churn.online.read import OnlineRow
from churn.online.redis_copy import MARK, PRESENT_COPY, Copy, instant_of
from churn.online.redis_servers import connect_redis, connect_redis_async

if TYPE_CHECKING:
    from churn.online.redis_servers import AsyncClient

# How often a reader asks again, since the copy was replaced between two of its questions.
_ATTEMPTS = 5


class RedisReader:
    """Reads the copy; threads may share it."""

    def __init__(self) -> None:
        self._client = connect_redis()
        self._copy: Copy | None = None

    def read(
        self, user_ids: Sequence[str], views: Sequence[View]
    ) -> tuple[dt.datetime | None, list[OnlineRow]]:
        """Return what `churn.online.read.read_rows` returns.

        Raises:
            redis.exceptions.RedisError: Redis does not answer.
        """
        for _ in range(_ATTEMPTS):
            copy = self._copy
            with self._client.pipeline(transaction=False) as pipeline:
                answers = _asked(pipeline, copy, user_ids).execute()
            self._copy, rows = _answered(copy, answers, user_ids, views)
            if rows is not None:
                return rows
        raise _refused("the present copy was replaced again and again")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


class AsyncRedisReader:
    """Does the same without blocking; made by `open`."""

    def __init__(self, client: "AsyncClient") -> None:
        self._client = client
        self._copy: Copy | None = None

    @classmethod
    async def open(cls) -> "AsyncRedisReader":
        """Open the connections."""
        return cls(await connect_redis_async())

    async def read(
        self, user_ids: Sequence[str], views: Sequence[View]
    ) -> tuple[dt.datetime | None, list[OnlineRow]]:
        """Return what `churn.online.read.read_rows` returns.

        Raises:
            redis.exceptions.RedisError: Redis does not answer.
        """
        for _ in range(_ATTEMPTS):
            copy = self._copy
            async with self._client.pipeline(transaction=False) as pipeline:
                answers = await _asked(pipeline, copy, user_ids).execute()
            self._copy, rows = _answered(copy, answers, user_ids, views)
            if rows is not None:
                return rows
        raise _refused("the present copy was replaced again and again")

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _asked(pipeline: Any, copy: Copy | None, user_ids: Sequence[str]) -> Any:
    """Ask which copy is present, and for the rows of the one that is known."""
    pipeline.get(PRESENT_COPY)
    if copy is not None:
        for user_id in user_ids:
            pipeline.hmget(copy.key_of(user_id), user_id, MARK)
    return pipeline


Rows = tuple[dt.datetime | None, list[OnlineRow]]


def _answered(
    copy: Copy | None, answers: list[Any], user_ids: Sequence[str], views: Sequence[View]
) -> tuple[Copy | None, Rows | None]:
    """Return the present copy, and the rows where they were asked of that one."""
    if answers[0] is None:
        if copy is not None:
            raise _refused("the name of the present copy is lost: publish again")
        return None, (None, [_unknown(user_id, views) for user_id in user_ids])
    present = Copy.from_json(answers[0])
    if present != copy:
        return present, None
    unpack = _unpacker(present.columns, tuple((view.name, view.feature_names) for view in views))
    rows = []
    for user_id, (packed, mark) in zip(user_ids, answers[1:], strict=True):
        if mark is None:
            raise _refused("a part of the copy is lost: publish again")
        rows.append(_unknown(user_id, views) if packed is None else unpack(user_id, packed))
    return present, (present.newest_as_of, rows)


@functools.lru_cache(maxsize=64)
def _unpacker(
    columns: tuple[str, ...], views: tuple[tuple[str, tuple[str, ...]], ...]
) -> Callable[[str, bytes], OnlineRow]:
    """Return a function that makes a row of a user's JSON; what the copy lacks is null, or a missing view."""
    import orjson

    at = {name: position for position, name in enumerate(columns)}
    flags = [(view, at.get(view)) for view, _ in views]
    names = [(name, at.get(name)) for _, features in views for name in features]

    def unpack(user_id: str, packed: bytes) -> OnlineRow:
        cells = orjson.loads(packed)
        values = {name: None if place is None else cells[place] for name, place in names}
        missing = [view for view, place in flags if place is None or not cells[place]]
        return OnlineRow(user_id, instant_of(cells[0]), instant_of(cells[1]), values, missing)

    return unpack


def _unknown(user_id: str, views: Sequence[View]) -> OnlineRow:
    values: dict[str, Any] = {name: None for view in views for name in view.feature_names}
    return OnlineRow(user_id, None, None, values, [view.name for view in views])


def _refused(reason: str) -> Exception:
    import redis.exceptions

    return redis.exceptions.ResponseError(reason)
