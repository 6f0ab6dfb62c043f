"""POST /predict over HTTP with one worker, compared with MLflow's pyfunc in the same framework."""

from functools import partial

import httpx
import orjson

from bench.load import Load, load, request
from bench.paced import paced
from bench.rows import Row, at_least, at_most
from bench.serving import (
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
from churn.errors import ChurnError
from churn.settings import get_settings
from churn.stack.parts import http_command
from churn.stack.processes import LOOPBACK, free_port

OURS, USUAL = "POST /predict", "mlflow pyfunc, pandas, scikit-learn, Feast's client"
HALF = "at half of peak load"
TOLERANCE = 1e-5


def measure(world: World, sizes: Sizes, say: Say) -> list[Row]:
    with world.served() as api, Worker() as worker:
        version = serve_a_month(world, sizes, say, worker)
        users = some_users(sizes.seed)
        ours, usual = get_settings().api_port, free_port()
        posts = [request("POST", "/predict", orjson.dumps({"user_id": user})) for user in users]
        say("starting the usual way")
        with server(
            "usual",
            http_command("bench.usual_app:app", LOOPBACK, usual),
            local(usual, "/docs"),
            {"USUAL_VERSION": version},
        ) as other:
            _require_equal(users, ours, usual)
            ways = {
                name: partial(worker.run, load, port, posts, CLIENTS, sizes.seconds)
                for name, port in ((OURS, ours), (USUAL, usual))
            }
            loads = take_turns(ways, sizes, say)
            usual_peak = peak_mb(other)
        loads[HALF] = _half_load(worker, sizes, posts, loads[OURS], say)
        api_peak = peak_mb(api)
    require_success(loads)
    peak = per_second(loads[OURS])
    half = {"p50": p50(loads[HALF]), "p99": p99(loads[HALF])}
    return [
        Row(
            "POST /predict over HTTP",
            f"{CLIENTS} clients, one worker, a forest of 300 trees",
            peak,
            "requests/s",
            beside={USUAL: per_second(loads[USUAL])},
            more={
                "p50_ms_half_load": half["p50"],
                "p99_ms_half_load": half["p99"],
                "half_load_per_s": per_second(loads[HALF]),
                "p50_ms": p50(loads[OURS]),
                "p99_ms": p99(loads[OURS]),
            },
            peak_mb={"ours": api_peak, USUAL: usual_peak},
            goals=[
                at_least("ratio", peak.median / per_second(loads[USUAL]).median, 20),
                at_most(f"p50 {HALF}", half["p50"].median, 2, " ms"),
                at_most(f"p99 {HALF}", half["p99"].median, 10, " ms"),
            ],
            note="peak: closed loop; half load: an open loop at a fixed rate, from the instant each was due",
        )
    ]


def _half_load(
    worker: Worker, sizes: Sizes, posts: list[bytes], peak: list[Load], say: Say
) -> list[Load]:
    rate = per_second(peak).median / 2
    way = partial(worker.run, paced, get_settings().api_port, posts, rate, sizes.seconds)
    return take_turns({f"{rate:,.0f} requests/s": way}, sizes, say).popitem()[1]


def _require_equal(users: list[str], ours: int, usual: int) -> None:
    """Ask both about some users; raise ChurnError unless their answers are equal."""
    for user in users[:20]:
        answers = [
            httpx.post(local(port, "/predict"), json={"user_id": user}, timeout=30).json()
            for port in (ours, usual)
        ]
        one, other = (answer["probability"] for answer in answers)
        if abs(one - other) > TOLERANCE:
            raise ChurnError(f"{user}: {one}, {USUAL}: {other}")
