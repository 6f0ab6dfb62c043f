"""Requests at a fixed rate while the contract grows under a running API, and a month is published."""

import itertools
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx
import orjson
import yaml
from psycopg import sql

from bench import core
from bench.drops import base_drops
from bench.load import Load, request
from bench.paced import paced
from bench.rows import Row, Spread, at_least, at_most
from bench.serving import local, p50, p99, per_second, serve_a_month, some_users
from bench.worker import Say, Timed, Worker, take_turns
from bench.world import Sizes, World
from churn.contract.document import read_contract
from churn.contract.in_force import USERS
from churn.database import connect
from churn.months import Month
from churn.settings import default_contract, get_settings

PER_SECOND = 200
# A user, as_of and features.
Answer = tuple[Any, ...]
# How many times as long as other loads this one lasts, since it must last for as long as the changes.
LONGER = 5
NOTHING = "the same requests, nothing changed"


def measure(world: World, sizes: Sizes, say: Say) -> list[Row]:
    """Ask for features and predictions while the contract grows and the next month is published."""
    seconds = LONGER * sizes.seconds
    with world.served() as _, Worker() as clients, Worker() as changes:
        serve_a_month(world, sizes, say, changes)
        month, drop = base_drops(world, sizes, months=max(2, sizes.months))[1]
        for name in ("deliver", "raw tables", "snapshots", "feature views"):
            say(f"{month}: {name}")
            changes.run(core.CLOSE[name], month, drop)
        users, port = _who_stay(some_users(sizes.seed), month), get_settings().api_port
        asked = _requests(users)

        def load() -> Load:
            return clients.run(paced, port, asked, PER_SECOND, seconds)

        quiet = take_turns({NOTHING: load}, sizes, say)[NOTHING]
        steps: list[Timed] = []

        def change() -> None:
            steps.append(changes.time(grow))
            steps.append(changes.time(core.online, month, drop))

        say(f"{PER_SECOND} requests a second while the contract grows")
        with _whole_answers(port, users[:20]) as answers:
            changing = threading.Thread(target=change)
            changing.start()
            loaded = load()
            changing.join()
    grown, published = steps
    failed = sum(count for status, count in loaded.statuses.items() if status != httpx.codes.OK)
    row = Row(
        "answers while the contract grows",
        f"{PER_SECOND} requests/s, {grown.value} changes and a publication",
        p99([loaded]),
        "ms, p99",
        beside={NOTHING: p99(quiet)},
        more={
            "p50_ms": p50([loaded]),
            "requests_per_s": per_second([loaded]),
            "failed": Spread.of([failed]),
            "answers_compared": Spread.of([answers.compared]),
            "mixed_answers": Spread.of([answers.mixed]),
            "growing_s": Spread.of([grown.seconds]),
            "publishing_s": Spread.of([published.seconds]),
        },
        goals=[
            at_least("requests/s", per_second([loaded]).median, 0.99 * PER_SECOND),
            at_most("answers other than 200", failed, 0),
            at_most("answers of two months at once", answers.mixed, 0),
        ],
        note=f"an open loop of {seconds:g} s, from the instant each request was due",
    )
    return [row]


def grow() -> int:
    """Apply a contract with another column, table and view and a wider type; return the number of changes."""
    from churn.database.migrate import bring_up

    with connect() as connection:
        return len(bring_up(connection, read_contract(_grown(), "bench")))


def _grown() -> str:
    """Return the text of the default contract, grown."""
    document = yaml.safe_load(default_contract().text)
    view = next(view for view in document["views"].values() if "columns" not in view)
    columns = document["tables"][view["table"]]["columns"]
    since = 2 + max(column.get("since", 1) for column in columns.values())
    whole = next(column for column in columns.values() if column["type"] == "int")
    whole |= {"type": "float", "exact": True}
    added = {"type": "float", "optional": True, "since": since}
    columns["bench_added"] = added
    document["tables"]["bench_added"] = {
        "optional": True,
        "columns": {"bench_other": added},
    }
    document["views"]["bench_added_fv"] = {"table": "bench_added"}
    return yaml.safe_dump(document, sort_keys=False)


def _who_stay(users: Sequence[str], month: Month) -> list[str]:
    """Return the users who are there in that month, too: for those who have left, the status is another."""
    query = sql.SQL("SELECT user_id FROM {} WHERE as_of = %s").format(
        sql.Identifier(USERS.snapshot)
    )
    with connect() as connection:
        there = {user for (user,) in connection.execute(query, (month.as_of,))}
    return [user for user in users if user in there]


def _requests(users: Sequence[str]) -> list[bytes]:
    pairs = [
        (
            request("GET", f"/features/{quote(user)}"),
            request("POST", "/predict", orjson.dumps({"user_id": user})),
        )
        for user in users
    ]
    return list(itertools.chain.from_iterable(pairs))


@dataclass
class _Answers:
    """Features of some users as they were answered, and how many were those of neither month."""

    seen: set[Answer] = field(default_factory=set)
    compared: int = 0
    mixed: int = 0


@contextmanager
def _whole_answers(port: int, users: Sequence[str]) -> Iterator[_Answers]:
    """Ask for the users' features over and over during the block, then count answers of neither month."""
    answers, ended = _Answers(), threading.Event()
    with httpx.Client() as client:

        def features(user: str) -> Answer:
            body = client.get(local(port, f"/features/{quote(user)}")).json()
            return user, body["as_of"], *body["features"].items()

        def ask() -> None:
            while not ended.is_set():
                answers.seen |= {features(user) for user in users}
                answers.compared += len(users)

        before = {features(user) for user in users}
        asking = threading.Thread(target=ask)
        asking.start()
        try:
            yield answers
        finally:
            ended.set()
            asking.join()
        after = {features(user) for user in users}
        answers.mixed = len(answers.seen - before - after)
