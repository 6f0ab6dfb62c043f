"""The copy in Redis: made beside `redis-cli --pipe`, and read beside a bare HGET and Feast's own store."""

import contextlib
import datetime as dt
import itertools
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import psycopg

from bench.online import NEW, filled
from bench.online_reads import Answer, p50_ms, some_users, through_store
from bench.rows import Row, Spread, at_least, at_most
from bench.worker import Say, Worker, take_turns
from bench.world import Sizes, World
from churn.contract.in_force import BASELINE
from churn.database.online_tables import PRESENT
from churn.settings import get_settings
from churn.stack.supervisor import exported

PIPE = "redis-cli --pipe, the same bytes"
PACKED = "the same rows packed by Postgres, read and dropped"
BARE = "bare HGET"
FEAST = "Feast's Redis store"


def measure(world: World, sizes: Sizes, say: Say) -> list[Row]:
    with filled(world, sizes, say) as settings, _redis(settings.home) as port:
        chosen = {"CHURN_ONLINE": "redis", "CHURN_REDIS_URL": f"redis://127.0.0.1:{port}/0"}
        with exported(chosen), Worker() as worker:
            say("publishing a month")
            users = worker.run(publish_new)
            commands = settings.home / "copy.resp"
            worker.run(write_commands, commands)
            making = _making(worker, users, port, commands, sizes, say)
            say(f"filling {FEAST}")
            worker.run(fill_feasts_own, port)
            return [making, _reading(port, sizes, say)]


def _making(worker: Worker, users: int, port: int, commands: Path, sizes: Sizes, say: Say) -> Row:
    ways = {
        "ours": lambda: worker.time(copy).seconds,
        PIPE: lambda: _piped(port, commands),
        PACKED: lambda: worker.time(read_packed).seconds,
    }
    seconds = {name: Spread.of(runs) for name, runs in take_turns(ways, sizes, say).items()}
    return Row(
        "copy of the online table into Redis",
        f"{users:,} users",
        seconds["ours"],
        "s",
        beside={name: seconds[name] for name in (PIPE, PACKED)},
        peak_mb={"ours": worker.peak_mb()},
        goals=[at_most("ratio to redis-cli", seconds["ours"].median / seconds[PIPE].median, 2)],
        limit={PACKED: seconds[PACKED].median},
        note="ours reads the rows from Postgres and packs them; the pipe has them packed in a file",
    )


def _reading(port: int, sizes: Sizes, say: Say) -> Row:
    reads: dict[str, Callable[[list[str]], Any]] = {
        "ours": ours, BARE: bare, FEAST: partial(feasts_own, port),
    }  # fmt: skip
    with contextlib.ExitStack() as stack:
        workers = {name: stack.enter_context(Worker()) for name in reads}
        sample = workers["ours"].run(some_users, 500)
        if workers["ours"].run(ours, sample[:100]) != workers[FEAST].run(
            reads[FEAST], sample[:100]
        ):
            raise AssertionError("the ways of reading gave different values")
        ways = {
            name: partial(workers[name].run, p50_ms, read, sample, 1)
            for name, read in reads.items()
        }
        latencies = {name: Spread.of(runs) for name, runs in take_turns(ways, sizes, say).items()}
    return Row(
        "online features from the copy in Redis, 1 user",
        f"{len(BASELINE.feature_names)} features",
        latencies["ours"],
        "ms, p50",
        beside={name: latencies[name] for name in (BARE, FEAST)},
        goals=[
            at_most("ratio to HGET", latencies["ours"].median / latencies[BARE].median, 2),
            at_least("times Feast's", latencies[FEAST].median / latencies["ours"].median, 10),
        ],
        limit={BARE: latencies[BARE].median},
        note="month, version and newest publication included; values of 100 users equal",
    )


def publish_new() -> int:
    """Put the second month online, and into the copy; return how many users it has."""
    from churn.online.publish import publish

    return publish(NEW).users


def copy() -> int:
    """Make the copy anew, from what Postgres has online."""
    from churn.online.redis_copy import copy_to_redis

    with psycopg.connect(get_settings().dsn()) as connection:
        return copy_to_redis(connection)


def read_packed() -> int:
    """Read what a copy consists of, and drop it; return how many users that are."""
    from churn.online import redis_copy

    with psycopg.connect(get_settings().dsn()) as connection:
        described, _ = redis_copy._described(connection, PRESENT, None, 0)
        batches = redis_copy._batches(connection, described)
        return sum(len(rows) for batch in batches for _, rows in batch)


def write_commands(path: Path) -> None:
    """Write the commands that fill a copy, as Redis reads them, with other keys than ours has."""
    from churn.online import redis_copy

    with psycopg.connect(get_settings().dsn()) as connection, path.open("wb") as file:
        described, _ = redis_copy._described(connection, PRESENT, None, 0)
        for part, rows in itertools.chain.from_iterable(redis_copy._batches(connection, described)):
            words = ["HSET", f"piped:{part}", *itertools.chain.from_iterable(rows.items())]
            file.write(b"*%d\r\n" % len(words))
            for word in (word.encode() for word in words):
                file.write(b"$%d\r\n%s\r\n" % (len(word), word))


def _piped(port: int, commands: Path) -> float:
    with commands.open("rb") as file:
        started = time.perf_counter()
        subprocess.run(
            [_program("redis-cli"), "-p", str(port), "--pipe"],
            stdin=file, stdout=subprocess.DEVNULL, check=True,
        )  # fmt: skip
        return time.perf_counter() - started


def ours(users: list[str]) -> Answer:
    _, rows = _reader().read(users, BASELINE.views)
    return {row.user_id: list(row.values.values()) for row in rows}


def bare(users: list[str]) -> list[Any]:
    reader = _reader()
    if reader._copy is None:
        reader.read(users, BASELINE.views)
    present: Any = reader._copy
    return [reader._client.hget(present.key_of(user), user) for user in users]


@cache
def _reader() -> Any:
    from churn.online.redis_read import RedisReader

    return RedisReader()


def feasts_own(port: int, users: list[str]) -> Answer:
    return through_store(_feasts_own(port), users)


@cache
def _feasts_own(port: int) -> Any:
    """Open the same features in Feast's own Redis store."""
    from feature_repo.store import open_store
    from feature_repo.streamflow import feast_objects

    settings = get_settings()
    registry = settings.home / "redis_peer.db"
    store = open_store(
        registry={"registry_type": "file", "path": str(registry), "cache_ttl_seconds": 0},
        online_store={"type": "redis", "connection_string": f"127.0.0.1:{port},db=1"},
    )
    if not registry.exists():
        store.apply(list(feast_objects(settings.lake).values()), partial=False)
    return store


def fill_feasts_own(port: int) -> None:
    """Put the baseline's features of the second month into it, as `feast materialize` does."""
    hour = dt.timedelta(hours=1)
    views = [view.name for view in BASELINE.views]
    _feasts_own(port).materialize(NEW.as_of - hour, NEW.as_of + hour, feature_views=views)


@contextlib.contextmanager
def _redis(folder: Path) -> Iterator[int]:
    """Run a Redis server that keeps nothing on disk; yields its port."""
    import redis

    from churn.retry import repeat_patiently
    from churn.stack.processes import free_port

    port = free_port()
    command = [_program("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with (folder / "redis.log").open("wb") as log:
        server = subprocess.Popen([*command, "--dir", str(folder)], stdout=log, stderr=log)
    try:
        with redis.Redis(port=port) as client:
            repeat_patiently(client.ping)
        yield port
    finally:
        server.terminate()
        server.wait(60)


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise FileNotFoundError(f"{name} is not installed: apt-get install redis-server")
    return path
