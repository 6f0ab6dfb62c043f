"""GET /features and POST /predict of the real API, one uvicorn worker, beside a route that only answers."""

import random
import time
from functools import partial
from urllib.parse import quote

import httpx
import orjson

from bench.graph import month_through_graph
from bench.load import Load, constant_server, load, request
from bench.rows import Row, Spread
from bench.stages import base_drops
from bench.worker import Say, Worker, peak_mb, take_turns
from bench.world import Sizes, World
from churn.database import connect
from churn.errors import ChurnError
from churn.settings import get_settings
from churn.stack.ports import free_port

MANY, SAMPLE, READY_SECONDS = 16, 1000, 60
FEATURES, PREDICT = "GET /features", "POST /predict"
CONSTANT, CEILING = "GET /health/live, a constant", "the load generator's ceiling"


def measure(world: World, sizes: Sizes, say: Say) -> list[Row]:
    with world.served() as api, Worker() as generator:
        _make_ready(world, sizes, say, generator)
        port, bare = get_settings().api_port, free_port()
        users = _some_users(sizes.seed)
        routes = {
            FEATURES: (port, [request("GET", f"/features/{quote(user)}") for user in users]),
            PREDICT: (
                port,
                [request("POST", "/predict", orjson.dumps({"user_id": user})) for user in users],
            ),
            CONSTANT: (port, [request("GET", "/health/live")]),
            CEILING: (bare, [request("GET", "/")]),
        }
        with constant_server(bare):
            found: dict[int, dict[str, list[Load]]] = {}
            for clients in (1, MANY):
                ways = {
                    name: partial(generator.run, load, at, sent, clients, sizes.seconds)
                    for name, (at, sent) in routes.items()
                }
                found[clients] = take_turns(ways, sizes, say)
        api_peak = peak_mb(api)
    _require_success(found)
    return [
        row
        for route in (FEATURES, PREDICT)
        for row in (_alone(route, found[1]), _crowded(route, found[MANY], api_peak))
    ]


def _alone(route: str, found: dict[str, list[Load]]) -> Row:
    return Row(
        route,
        "1 client",
        _p50(found[route]),
        "ms, p50",
        beside={CONSTANT: _p50(found[CONSTANT])},
        more={"p99_ms": _p99(found[route]), "requests_per_s": _per_second(found[route])},
    )


def _crowded(route: str, found: dict[str, list[Load]], api_peak: float) -> Row:
    return Row(
        route,
        f"{MANY} clients",
        _per_second(found[route]),
        "requests/s",
        beside={name: _per_second(found[name]) for name in (CONSTANT, CEILING)},
        more={"p50_ms": _p50(found[route]), "p99_ms": _p99(found[route])},
        peak_mb={"ours": api_peak},
        note="closed loop; one uvicorn worker, the generator in another process on the same cores",
    )


def _make_ready(world: World, sizes: Sizes, say: Say, worker: Worker) -> None:
    url = f"{get_settings().smoke_url}/health/ready"
    if httpx.get(url).status_code != httpx.codes.OK:
        say("putting a month through the graph")
        worker.run(month_through_graph, *base_drops(world, sizes)[0])
    deadline = time.monotonic() + READY_SECONDS
    while (answer := httpx.get(url)).status_code != httpx.codes.OK:
        if time.monotonic() > deadline:
            raise ChurnError(f"the API does not become ready: {answer.text}", where=url)
        time.sleep(0.2)


def _some_users(seed: int) -> list[str]:
    """Return users of the newest published month, in an order without meaning."""
    with connect() as connection:
        rows = connection.execute(
            "SELECT user_id FROM online.users WHERE as_of = (SELECT max(as_of) FROM online.users)"
            ' ORDER BY user_id COLLATE "C"'
        ).fetchall()
    users = [row[0] for row in rows]
    return random.Random(seed).sample(users, min(SAMPLE, len(users)))  # noqa: S311


def _require_success(found: dict[int, dict[str, list[Load]]]) -> None:
    for turns in found.values():
        for route, runs in turns.items():
            failed = [load.statuses for load in runs if set(load.statuses) != {200}]
            if failed:
                raise ChurnError(f"answers other than 200: {failed[0]}", where=route)


def _p50(runs: list[Load]) -> Spread:
    return Spread.of([load.p50_ms for load in runs])


def _p99(runs: list[Load]) -> Spread:
    return Spread.of([load.p99_ms for load in runs])


def _per_second(runs: list[Load]) -> Spread:
    return Spread.of([load.per_second for load in runs])
