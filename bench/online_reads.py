"""Online features in process, for 1 and for 100 users, compared with a bare SELECT and Feast's own store."""

import time
from collections.abc import Callable
from functools import cache, partial
from statistics import median
from typing import Any

import psycopg
from psycopg import sql

from bench.online import (
    FEAST,
    NEW,
    back_to_the_old_month,
    filled,
    materialize_feasts_own,
    open_feasts_own,
)
from bench.publish import publish_new
from bench.rows import Row, Spread, at_least, at_most
from bench.worker import Say, Worker, take_turns
from bench.world import Sizes, World
from churn.contract.in_force import BASELINE
from churn.settings import get_settings

SELECT = "prepared SELECT of a wide row"
OURS_IN_FEAST = "our store through Feast"
# The number of reads in one run, by the number of users in each.
_ROUNDS = {1: 300, 100: 60}
_NAMES = BASELINE.feature_names
# The values of each user, in the order of the service.
Answer = dict[str, list[Any]]


def measure(world: World, sizes: Sizes, say: Say) -> list[Row]:
    with filled(world, sizes, say) as settings, Worker() as feast:
        feast.run(back_to_the_old_month)
        feast.run(publish_new)
        if not (settings.home / "peer.db").exists():
            say(f"filling {FEAST}")
            feast.run(materialize_feasts_own)
        return [_row(users, sizes, say) for users in _ROUNDS]


def _row(users: int, sizes: Sizes, say: Say) -> Row:
    reads: dict[str, Callable[[list[str]], Answer]] = {
        "ours": ours, SELECT: select, FEAST: through_feasts_own, OURS_IN_FEAST: through_ours,
    }  # fmt: skip
    workers = {name: Worker() for name in reads}
    try:
        for worker in workers.values():
            worker.__enter__()
        sample = workers[SELECT].run(some_users, 500)
        answers = {name: workers[name].run(read, sample[:100]) for name, read in reads.items()}
        if any(answer != answers["ours"] for answer in answers.values()):
            raise AssertionError("the ways of reading gave different values")
        ways = {
            name: partial(workers[name].run, p50_ms, read, sample, users)
            for name, read in reads.items()
        }
        latencies = {name: Spread.of(runs) for name, runs in take_turns(ways, sizes, say).items()}
    finally:
        for worker in workers.values():
            worker.__exit__(None, None, None)
    return Row(
        f"online features in process, {users} user{'s' if users > 1 else ''}",
        f"{len(_NAMES)} features",
        latencies["ours"],
        "ms, p50",
        beside={name: latencies[name] for name in (SELECT, FEAST, OURS_IN_FEAST)},
        goals=[
            at_most("ratio to SELECT", latencies["ours"].median / latencies[SELECT].median, 2),
            at_least("times Feast's", latencies[FEAST].median / latencies["ours"].median, 5),
        ],
        limit={SELECT: latencies[SELECT].median},
        note="month, version and newest publication included; values of 100 users equal",
    )


def p50_ms(read: Callable[[list[str]], Answer], sample: list[str], users: int) -> float:
    """Return the median latency of some reads, each of different users."""
    spent = []
    for number in range(_ROUNDS[users]):
        asked = [sample[(number * users + offset) % len(sample)] for offset in range(users)]
        started = time.perf_counter()
        read(asked)
        spent.append(time.perf_counter() - started)
    return median(spent) * 1e3


def some_users(count: int) -> list[str]:
    query = "SELECT user_id FROM online.users WHERE as_of = %s ORDER BY md5(user_id) LIMIT %s"
    return [row[0] for row in _connection().execute(query, [NEW.as_of, count])]


def ours(users: list[str]) -> Answer:
    from churn.online.read import read_rows

    _, rows = read_rows(_connection(), users, BASELINE.views)
    return {row.user_id: list(row.values.values()) for row in rows}


def select(users: list[str]) -> Answer:
    rows = _connection().execute(_select(), [users], prepare=True).fetchall()
    return {row[0]: list(row[3:]) for row in rows}


def through_feasts_own(users: list[str]) -> Answer:
    return through_store(_feasts_own(), users)


def through_ours(users: list[str]) -> Answer:
    return through_store(_ours(), users)


def through_store(store: Any, users: list[str]) -> Answer:
    service = store.get_feature_service(BASELINE.name)
    answer = store.get_online_features(service, {"user_id": users}).to_dict()
    return {user: [_shortest(answer[name][at]) for name in _NAMES] for at, user in enumerate(users)}


def _shortest(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    import numpy as np

    return float(str(np.float32(value)))


@cache
def _connection() -> psycopg.Connection:
    from churn.online.read import CONNECTION

    return psycopg.connect(get_settings().dsn(), **CONNECTION)


@cache
def _select() -> bytes:
    names = sql.SQL(", ").join(map(sql.Identifier, ["user_id", "as_of", "known_at", *_NAMES]))
    statement = sql.SQL("SELECT {} FROM online.users WHERE user_id = ANY(%s::text[])")
    return statement.format(names).as_bytes()


@cache
def _feasts_own() -> Any:
    return open_feasts_own()


@cache
def _ours() -> Any:
    from feature_repo.store import open_store

    return open_store()
