"""A copy of the online table in Redis, for more readers than one Postgres can serve: how it is made.

Postgres stays the truth: a publication is built and judged there, copied whole, and switched in both. Each
copy has a number, under which its rows lie in hashes of some 64 users, and one key names the copy that is
read (`redis_read` reads it). A copy that is replaced stays readable for as long as any reader may take. Each
hash holds a mark, written with its users, so that a hash which was lost is never taken for users who are
unknown; and replicas are waited for, so that a primary which is lost takes neither a copy nor its name along.

It works on one server and on a cluster of them (https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/).
"""

import contextlib
import datetime as dt
import functools
import hashlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from churn.contract.in_force import VIEWS
from churn.database.online_tables import COLUMNS, PRESENT
from churn.errors import ChurnError
from churn.online.redis_servers import await_replicas, connect_redis

if TYPE_CHECKING:
    from churn.online.redis_servers import Client

# The copy that is read, as JSON; all copies that were begun and have not been told to go; the last number.
PRESENT_COPY, BEGUN_COPIES = "churn:online", "churn:online:begun"
LAST_NUMBER = "churn:online:last"
# A reader gives up sooner.
READER_SECONDS = 20
# A field of every hash; no id of a user can be this.
MARK = "\0"
_USERS_PER_HASH = 64
_MOST_HASHES = 1 << 16
_ROWS_AT_ONCE = 20_000
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
# A copier that was held up may come after a later one; the present copy is never replaced by an older one.
_SWITCH = """
local present = redis.call('GET', KEYS[1])
if present and cjson.decode(present).number > tonumber(ARGV[2]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1])
return 1
"""


def instant_of(microseconds: int) -> dt.datetime:
    """Return the instant so many microseconds after the beginning of 1970."""
    return _EPOCH + microseconds * _MICROSECOND


@dataclass(frozen=True)
class Copy:
    """One copy of the online table.

    Args:
        number: later copies have larger ones, and no number is given twice: under an old one may still lie
            hashes that were told to go.
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

    @classmethod
    def from_begun(cls, member: str) -> "Copy":
        """Return the copy of such a member, as far as its keys go."""
        number, hashes = map(int, member.split(":"))
        return cls(number, 0, hashes, ())

    @property
    def newest_as_of(self) -> dt.datetime:
        """The newest published as_of."""
        return instant_of(self.newest)

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
    """Copy what is online in Postgres anew, and give it to readers; return how many users it holds.

    The caller holds the lock of publications.
    """
    copy, users = prepare_copy(connection)
    give_copy(copy)
    return users


def prepare_copy(
    connection: psycopg.Connection, table: str = PRESENT, newest: dt.datetime | None = None
) -> tuple[Copy, int]:
    """Copy a table of online features, whole, but do not give it to readers; return how many users it holds.

    The caller holds the lock of publications, so that one copy is made at a time.

    Args:
        connection: on which the table is read, in one transaction.
        table: the present table, or the next one, which is about to be switched in.
        newest: the month that is being published.

    Raises:
        redis.exceptions.RedisError: Redis does not answer, or has no room; nothing is left of the copy.
    """
    client = connect_redis()
    try:
        begun = {_text(member) for member in client.smembers(BEGUN_COPIES)}
        value = client.get(PRESENT_COPY)
        present = Copy.from_json(value) if value is not None else None
        # What broke off takes room, and is nobody's.
        _expire(client, begun - ({present.begun} if present else set()))
        with connection.transaction():
            number = _next_number(client, present)
            copy, users = _described(connection, table, newest, number)
            client.sadd(BEGUN_COPIES, copy.begun)
            try:
                _fill(client, copy, _batches(connection, copy, table))
                await_replicas(client)
            except BaseException:
                with contextlib.suppress(Exception):
                    _expire(client, {copy.begun}, seconds=0)
                raise
    finally:
        client.close()
    return copy, users


def give_copy(copy: Copy) -> None:
    """Let readers have a copy in place of the present one.

    Raises:
        ChurnError: a later copy is present.
        redis.exceptions.RedisError: Redis does not answer.
    """
    client = connect_redis()
    try:
        value = client.get(PRESENT_COPY)
        if not client.eval(_SWITCH, 1, PRESENT_COPY, copy.as_json(), str(copy.number)):
            _expire(client, {copy.begun}, seconds=0)
            raise ChurnError(
                "a later copy of the online table is in Redis",
                where="CHURN_REDIS_URL",
                remedy="give each deployment a Redis of its own, or another database of it",
            )
        await_replicas(client)
        if value is not None and (before := Copy.from_json(value)) != copy:
            _expire(client, {before.begun})
    finally:
        client.close()


def _next_number(client: "Client", present: Copy | None) -> int:
    number = int(client.incr(LAST_NUMBER))
    if present is not None and number <= present.number:
        # The counter was lost, or the present copy is from before it was kept.
        number = int(client.incrby(LAST_NUMBER, present.number + 1 - number))
    return number


def _fill(
    client: "Client", copy: Copy, batches: Iterator[list[tuple[int, dict[Any, Any]]]]
) -> None:
    """Write every hash of a copy, each by one command, also those of which no user is."""
    filled = 0
    for batch in batches:
        with client.pipeline(transaction=False) as pipeline:
            for part, rows in batch:
                for empty in range(filled, part):
                    pipeline.hset(copy.key(empty), MARK, "1")
                pipeline.hset(copy.key(part), mapping=rows | {MARK: "1"})
                filled = part + 1
            pipeline.execute()
    with client.pipeline(transaction=False) as pipeline:
        for empty in range(filled, copy.hashes):
            pipeline.hset(copy.key(empty), MARK, "1")
        pipeline.execute()


def forget_copy() -> None:
    """Take the present copy away from readers, until the next publication."""
    client = connect_redis()
    try:
        client.delete(PRESENT_COPY)
    finally:
        client.close()


def erase_of_copy(user_id: str, *, dry_run: bool) -> int:
    """Delete a user from every copy; return from how many that was, or would be.

    Copies that were replaced last for READER_SECONDS at most.
    """
    client = connect_redis()
    try:
        keys = {
            Copy.from_begun(_text(member)).key_of(user_id)
            for member in client.smembers(BEGUN_COPIES)
        }
        if dry_run:
            return sum(bool(client.hexists(key, user_id)) for key in keys)
        return sum(int(client.hdel(key, user_id)) for key in keys)
    finally:
        client.close()


def _described(
    connection: psycopg.Connection, table: str, newest: dt.datetime | None, number: int
) -> tuple[Copy, int]:
    """Return the copy that is to be made of a table, and of how many users."""
    name = sql.Identifier("online", table)
    row = connection.execute(
        sql.SQL(
            "SELECT greatest(max(as_of), %s), (SELECT count(*) FROM {}) FROM online.publications"
        ).format(name),
        [newest],
    ).fetchone()
    assert row is not None  # noqa: S101  (an aggregate always makes a row)
    as_of, users = row
    present = connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass"
        " AND attnum > 0 AND NOT attisdropped",
        [name.as_string(connection)],
    )
    names = {each for (each,) in present}
    columns = tuple(each for each in COLUMNS if each in names and each != "user_id")
    wanted = max(users // _USERS_PER_HASH, 1)
    hashes = min(1 << (wanted - 1).bit_length(), _MOST_HASHES)
    return Copy(number, (as_of - _EPOCH) // _MICROSECOND, hashes, columns), users


def _batches(
    connection: psycopg.Connection, copy: Copy, table: str = PRESENT
) -> Iterator[list[tuple[int, dict[Any, Any]]]]:
    """Yield the rows in batches of hashes, each with its users' rows as JSON arrays."""
    cells = sql.SQL(" || ',' || ").join(_cell(name) for name in copy.columns)
    query = sql.SQL(
        "SELECT ('x' || left(md5(user_id), 4))::bit(16)::int % {hashes} AS part, user_id,"
        " '[' || {cells} || ']' FROM {users} ORDER BY part"
    ).format(hashes=copy.hashes, cells=cells, users=sql.Identifier("online", table))
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


def _expire(client: "Client", begun: set[str], seconds: int = READER_SECONDS) -> None:
    """Let copies go once no reader can be in the middle of one; at once where nobody has been given it."""
    for member in begun:
        copy = Copy.from_begun(member)
        for start in range(0, copy.hashes, _ROWS_AT_ONCE):
            with client.pipeline(transaction=False) as pipeline:
                for part in range(start, min(start + _ROWS_AT_ONCE, copy.hashes)):
                    pipeline.expire(copy.key(part), seconds)
                pipeline.execute()
        client.srem(BEGUN_COPIES, member)
