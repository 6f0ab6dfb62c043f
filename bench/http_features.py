"""GET /features over HTTP with one worker, compared with `feast serve` and a route returning a constant."""

import sys
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import orjson

from bench.load import constant_server, load, request
from bench.rows import Row, at_least
from bench.serving import (
    CEILING,
    CLIENTS,
    local,
    p50,
    p99,
    per_second,
    require_success,
    serve_a_month,
    server,
    some_users,
)
from bench.worker import Say, Worker, peak_mb, take_turns
from bench.world import Sizes, World
from churn.contract.in_force import DEFAULT_SERVICE
from churn.errors import ChurnError
from churn.settings import get_settings
from churn.stack.parts import http_command
from churn.stack.processes import LOOPBACK, free_port

OURS, FEAST, CONSTANT = "GET /features", "feast serve", "the same route returning a constant"


def measure(world: World, sizes: Sizes, say: Say) -> list[Row]:
    with world.served() as api, Worker() as worker:
        serve_a_month(world, sizes, say, worker)
        users = some_users(sizes.seed)
        ours, feast, constant, bare = get_settings().api_port, *(free_port() for _ in range(3))
        gets = [request("GET", f"/features/{quote(user)}") for user in users]
        posts = [
            request("POST", "/get-online-features", orjson.dumps(_asked_of_feast(user)))
            for user in users
        ]
        say("starting feast serve")
        with (
            server("feast", _feast_command(feast), local(feast, "/health"), _feast_environment()),
            server(
                "constant",
                http_command("bench.constant_app:app", LOOPBACK, constant),
                local(constant, "/features/a"),
            ),
            constant_server(bare),
        ):
            _require_equal(users, ours, feast)
            ways = {
                name: partial(worker.run, load, port, sent, CLIENTS, sizes.seconds)
                for name, port, sent in (
                    (OURS, ours, gets),
                    (FEAST, feast, posts),
                    (CONSTANT, constant, gets),
                    (CEILING, bare, gets),
                )
            }
            loads = take_turns(ways, sizes, say)
            alone = worker.run(load, ours, gets, 1, sizes.seconds)
        api_peak = peak_mb(api)
    require_success(loads)
    rates = {name: per_second(runs) for name, runs in loads.items()}
    return [
        Row(
            "GET /features over HTTP",
            f"{CLIENTS} clients, one worker",
            rates[OURS],
            "requests/s",
            beside={FEAST: rates[FEAST], CONSTANT: rates[CONSTANT]},
            more={
                "p50_ms": p50(loads[OURS]),
                "p99_ms": p99(loads[OURS]),
                "p50_ms_1_client": p50([alone]),
                "generator_ceiling_per_s": rates[CEILING],
            },
            peak_mb={"ours": api_peak},
            goals=[
                at_least(f"ratio to {FEAST}", rates[OURS].median / rates[FEAST].median, 10),
                at_least(
                    "of the constant's rate", rates[OURS].median / rates[CONSTANT].median, 0.6
                ),
            ],
            note="closed loop; server, Postgres and load generator share the machine's cores",
        )
    ]


def _asked_of_feast(user: str) -> dict[str, Any]:
    return {"feature_service": DEFAULT_SERVICE.name, "entities": {"user_id": [user]}}


def _feast_command(port: int) -> list[str]:
    from feature_repo.store import repository

    feast = str(Path(sys.executable).with_name("feast"))
    options = ["--host", LOOPBACK, "--port", str(port), "--workers", "1", "--no-access-log"]
    # Otherwise it starts a new worker after a thousand requests, which takes seconds.
    return [feast, "-c", str(repository()), "serve", *options, "--max-requests", "0"]


def _feast_environment() -> dict[str, str]:
    from feature_repo.store import registry_url

    return {"FEAST_REGISTRY_URL": registry_url()}


def _require_equal(users: list[str], ours: int, feast: int) -> None:
    """Ask both about some users; raise ChurnError unless their answers are equal."""
    for user in users[:20]:
        features = httpx.get(local(ours, f"/features/{quote(user)}")).json()["features"]
        answer = httpx.post(local(feast, "/get-online-features"), json=_asked_of_feast(user)).json()
        values = [column["values"][0] for column in answer["results"]]
        feasts = dict(zip(answer["metadata"]["feature_names"], values, strict=True))
        for name, value in features.items():
            other = feasts[name]
            same = (
                np.float32(value) == np.float32(other)
                if isinstance(value, float)
                else value == other
            )
            if not same:
                raise ChurnError(f"{name} of {user} is {value}, {FEAST} says {other}")
