"""A copy of the online table in Redis, for more readers than one Postgres can serve: how it is made and read.

Postgres stays the truth: a publication is built, judged and switched there, and then copied whole. Each copy
has a number, under which its rows lie in hashes of some 64 users, and one key names the copy that is read. A
reader asks for that key and for the rows of the copy that it knows in one round trip, and asks again where
the key has come to name another. So no answer mixes two copies, and a copy that is replaced stays readable
for as long as any reader may take.

It works on one server and on a cluster of them (https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/).
"""

import datetime as dt
import functools
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from churn.contract.in_force import VIEWS
from churn.contract.structure import View
from churn.database.online_tables import COLUMNS, USERS
from churn.online.read import OnlineRow
from churn.settings import get_settings

if TYPE_CHECKING:
    import redis
    import redis.asyncio
    import redis.asyncio.cluster
    import redis.cluster

    Client = redis.Redis | redis.cluster.RedisCluster
    AsyncClient = redis.asyncio.Redis | redis.asyncio.cluster.RedisCluster

# The copy that is read, as JSON; and all copies that were begun and have not been told to go.
PRESENT_COPY, BEGUN_COPIES = "churn:online", "churn:online:begun"
# A reader gives up sooner.
READER_SECONDS = 60
_ANSWER_SECONDS = 2.0
_USERS_PER_HASH = 64
_MOST_HASHES = 1 << 16
_ROWS_AT_ONCE = 20_000
# How often a reader asks again, since the copy was replaced between two of its questions.
_ATTEMPTS = 5
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
# A copier that was held up may come after a later one; the present copy is never replaced by an older one.
_SWITCH = """
local present = redis.call('GET', KEYS[1])
if present and cjson.decode(present).number > tonumber(ARGV[2]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1])
return 1
"""


@dataclass(frozen=True)
class Copy:
    """One copy of the online table.

    Args:
        number: when its publication was recorded, in microseconds since 1970; later copies have larger ones.
        newest: the newest published as_of, in microseconds since 1970.
        hashes: over how many hashes the users are spread, a power of two.
        columns: what a user's row holds, in order: as_of, known_at, the views, their features.
    """

    number: int
    newest: int
    hashes: int
    columns: tuple[str, ...]

    def key(self, part: int) -> str:
        """Return the key of one of the copy's hashes; a cluster spreads them over its servers."""
        return f"churn:online:{self.number}:{part}"

    def key_of(self, user_id: str) -> str:
        """Return the key of the hash that holds a user."""
        first = hashlib.md5(user_id.encode(), usedforsecurity=False).digest()[:2]
        return self.key(int.from_bytes(first) % self.hashes)

    @property
    def begun(self) -> str:
        """The copy's member among those that were begun: what its keys are made of."""
        return f"{self.number}:{self.hashes}"

    def as_json(self) -> str:
        """Return the value of the key that names the copy which is read."""
        return json.dumps(self.__dict__)

    @classmethod
    @functools.lru_cache(maxsize=8)
    def from_json(cls, value: bytes) -> "Copy":
        """Return the copy that such a value names."""
        fields = json.loads(value)
        return cls(**fields | {"columns": tuple(fields["columns"])})


def copy_to_redis(connection: psycopg.Connection) -> int:
    """Copy the online table, whole, and let readers have the copy; return how many users it holds.

    The caller holds the lock of publications, so that one copy is made at a time. Where the copy fails,
    readers keep the one that they have.

    Args:
        connection: on which the table is read, in one transaction.

    Raises:
        redis.exceptions.RedisError: Redis does not answer, or has no room.
    """
    client = connect_redis()
    try:
        with connection.transaction():
            copy, users = _described(connection)
            earlier = {_text(member) for member in client.smembers(BEGUN_COPIES)}
            client.sadd(BEGUN_COPIES, copy.begun)
            for batch in _batches(connection, copy):
                with client.pipeline(transaction=False) as pipeline:
                    for part, rows in batch:
                        pipeline.hset(copy.key(part), mapping=rows)
                    pipeline.execute()
        client.eval(_SWITCH, 1, PRESENT_COPY, copy.as_json(), str(copy.number))
        _expire(client, earlier - {copy.begun})
    finally:
        client.close()
    return users


def forget_copy() -> None:
    """Take the present copy away from readers, until the next publication."""
    client = connect_redis()
    try:
        client.delete(PRESENT_COPY)
    finally:
        client.close()


def erase_of_copy(user_id: str, *, dry_run: bool) -> int:
    """Delete a user from the present copy; return how many rows that were, or would be.

    Earlier copies last for READER_SECONDS at most.
    """
    client = connect_redis()
    try:
        value = client.get(PRESENT_COPY)
        if value is None:
            return 0
        key = Copy.from_json(value).key_of(user_id)
        return int(client.hexists(key, user_id) if dry_run else client.hdel(key, user_id))
    finally:
        client.close()


def _described(connection: psycopg.Connection) -> tuple[Copy, int]:
    """Return the copy that is to be made, and of how many users."""
    row = connection.execute(
        sql.SQL(
            "SELECT max(published_at), max(as_of), (SELECT count(*) FROM {}) FROM online.publications"
        ).format(USERS)
    ).fetchone()
    assert row is not None  # noqa: S101  (an aggregate always makes a row)
    published_at, newest, users = row
    present = connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass"
        " AND attnum > 0 AND NOT attisdropped",
        [USERS.as_string(connection)],
    )
    names = {name for (name,) in present}
    columns = tuple(name for name in COLUMNS if name in names and name != "user_id")
    wanted = max(users // _USERS_PER_HASH, 1)
    hashes = min(1 << (wanted - 1).bit_length(), _MOST_HASHES)
    return Copy(
        _microseconds(published_at or _EPOCH), _microseconds(newest), hashes, columns
    ), users


def _batches(
    connection: psycopg.Connection, copy: Copy
) -> Iterator[list[tuple[int, dict[Any, Any]]]]:
    """Yield the rows in batches of hashes, each with its users' rows as JSON arrays."""
    cells = sql.SQL(" || ',' || ").join(_cell(name) for name in copy.columns)
    query = sql.SQL(
        "SELECT ('x' || left(md5(user_id), 4))::bit(16)::int % {hashes} AS part, user_id,"
        " '[' || {cells} || ']' FROM {users} ORDER BY part"
    ).format(hashes=copy.hashes, cells=cells, users=USERS)
    with connection.cursor("copied_users") as cursor:
        cursor.itersize = _ROWS_AT_ONCE
        cursor.execute(query)
        batch: list[tuple[int, dict[Any, Any]]] = []
        held = 0
        for part, rows in itertools.groupby(cursor, key=lambda row: row[0]):
            users = {user_id: cells for _, user_id, cells in rows}
            batch.append((part, users))
            held += len(users)
            if held >= _ROWS_AT_ONCE:
                yield batch
                batch, held = [], 0
        if batch:
            yield batch


_TEXTS = {f.name for view in VIEWS for f in view.features if f.type.python is str}


def _cell(column: str) -> sql.Composed:
    """Return the SQL of a column's value as JSON: a number is its shortest text, as Postgres writes it."""
    name = sql.Identifier(column)
    if column in ("as_of", "known_at"):
        return sql.SQL("(extract(epoch FROM {}) * 1000000)::bigint::text").format(name)
    text = sql.SQL("to_json({})::text" if column in _TEXTS else "{}::text").format(name)
    return sql.SQL("coalesce({}, 'null')").format(text)


def _text(answer: bytes | str) -> str:
    return answer.decode() if isinstance(answer, bytes) else answer


def _expire(client: "Client", begun: set[str]) -> None:
    """Let earlier copies go once no reader can be in the middle of one."""
    for member in begun:
        number, hashes = map(int, member.split(":"))
        key = Copy(number, 0, hashes, ()).key
        for start in range(0, hashes, _ROWS_AT_ONCE):
            with client.pipeline(transaction=False) as pipeline:
                for part in range(start, min(start + _ROWS_AT_ONCE, hashes)):
                    pipeline.expire(key(part), READER_SECONDS)
                pipeline.execute()
        client.srem(BEGUN_COPIES, member)


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
        raise _restless()

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
        raise _restless()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _asked(pipeline: Any, copy: Copy | None, user_ids: Sequence[str]) -> Any:
    """Ask which copy is present, and for the rows of the one that is known."""
    pipeline.get(PRESENT_COPY)
    if copy is not None:
        for user_id in user_ids:
            pipeline.hget(copy.key_of(user_id), user_id)
    return pipeline


Rows = tuple[dt.datetime | None, list[OnlineRow]]


def _answered(
    copy: Copy | None, answers: list[Any], user_ids: Sequence[str], views: Sequence[View]
) -> tuple[Copy | None, Rows | None]:
    """Return the present copy, and the rows where they were asked of that one."""
    if answers[0] is None:
        return None, (None, [_unknown(user_id, views) for user_id in user_ids])
    present = Copy.from_json(answers[0])
    if present != copy:
        return present, None
    unpack = _unpacker(present.columns, tuple((view.name, view.feature_names) for view in views))
    rows = [
        _unknown(user_id, views) if packed is None else unpack(user_id, packed)
        for user_id, packed in zip(user_ids, answers[1:], strict=True)
    ]
    return present, (_instant(present.newest), rows)


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
        return OnlineRow(user_id, _instant(cells[0]), _instant(cells[1]), values, missing)

    return unpack


def _unknown(user_id: str, views: Sequence[View]) -> OnlineRow:
    values: dict[str, Any] = {name: None for view in views for name in view.feature_names}
    return OnlineRow(user_id, None, None, values, [view.name for view in views])


def _instant(microseconds: int) -> dt.datetime:
    return _EPOCH + microseconds * _MICROSECOND


def _microseconds(instant: dt.datetime) -> int:
    return (instant - _EPOCH) // _MICROSECOND


def _restless() -> Exception:
    import redis.exceptions

    return redis.exceptions.ResponseError("the present copy was replaced again and again")


def _addresses() -> list[str]:
    return [each.strip() for each in get_settings().redis_url.get_secret_value().split(",")]


_OPTIONS: dict[str, Any] = {
    "socket_timeout": _ANSWER_SECONDS,
    "socket_connect_timeout": _ANSWER_SECONDS,
}


def connect_redis() -> "Client":
    """Connect by the first address of CHURN_REDIS_URL that answers: to that server, or to its whole cluster.

    Raises:
        redis.exceptions.RedisError: none of them answers.
    """
    import redis
    import redis.cluster

    refusal: Exception = redis.exceptions.ConnectionError("CHURN_REDIS_URL is empty")
    for address in _addresses():
        client = redis.Redis.from_url(address, **_OPTIONS)
        try:
            is_clustered = client.info("cluster")["cluster_enabled"]
        except redis.exceptions.RedisError as error:
            client.close()
            refusal = error
            continue
        if not is_clustered:
            return client
        client.close()
        return redis.cluster.RedisCluster.from_url(address, **_OPTIONS)
    raise refusal


async def connect_redis_async() -> "AsyncClient":
    """Do the same for an event loop."""
    import redis.asyncio
    import redis.asyncio.cluster

    refusal: Exception = redis.exceptions.ConnectionError("CHURN_REDIS_URL is empty")
    for address in _addresses():
        client = redis.asyncio.Redis.from_url(address, **_OPTIONS)
        try:
            is_clustered = (await client.info("cluster"))["cluster_enabled"]
        except redis.exceptions.RedisError as error:
            await client.aclose()
            refusal = error
            continue
        if not is_clustered:
            return client
        await client.aclose()
        cluster = redis.asyncio.cluster.RedisCluster.from_url(address, **_OPTIONS)
        return await cluster.initialize()
    raise refusal
