"""One month of many users through the whole graph: delivered, closed, trained on and scored."""

import time

from bench.backfill import pid
from bench.drops import FIRST
from bench.family import peaks_of
from bench.graph import through_graph
from bench.rows import Row, Spread, at_most
from bench.worker import Say, Worker
from bench.world import Sizes, World
from churn.population.drops import write_drops

FULL_USERS, USERS = 1_000_000, 50_000
MOST_SECONDS, MOST_MB = 480, 8_000
MONTH = FIRST.shift(1)
FORESTS = "the two baseline forests, fitted alone"


def measure(world: World, sizes: Sizes, say: Say) -> list[Row]:
    users = FULL_USERS if sizes.full else min(USERS, sizes.users)
    say(f"making {users:,} users")
    [small], [large] = (
        write_drops(
            world.folder(f"whole_month_{month}"), first=month, users=count, months=1,
            seed=sizes.seed, label_last_month=True,
        )
        for month, count in ((FIRST, sizes.base_users), (MONTH, users))
    )  # fmt: skip
    own = World(world.folder("whole_month"))
    with own, own.served(), Worker() as worker:
        say("a small month before, so that there is a release")
        worker.run(through_graph, [(FIRST, small)])
        say(f"a month of {users:,} users through the graph")
        with peaks_of(worker.run(pid)) as peaks:
            elapsed, jobs = worker.run(through_graph, [(MONTH, large)])
        peak = sum(peaks.values())
        goals = []
        # The goals are for the full size.
        if sizes.full:
            goals = [
                at_most("elapsed", elapsed, MOST_SECONDS, " s"),
                at_most("memory", peak, MOST_MB, " MB"),
            ]
        limit = {}
        if not all(goal.met for goal in goals):
            say("the forests alone")
            with Worker() as alone:
                limit = {FORESTS: alone.run(fit_forests)}
    return [
        Row(
            "one month, whole graph",
            f"{users:,} users, training included",
            Spread.of([elapsed]),
            "s",
            more={f"s {job}": Spread.of([seconds]) for job, seconds in jobs.items()},
            peak_mb={"ours, both processes": peak},
            goals=goals,
            limit=limit,
            note="two processes; the peak of each, added up, Postgres, MLflow and API not among them",
        )
    ]


def fit_forests() -> float:
    """Return the seconds that it takes to fit and judge the month's baselines, on rows that are in memory."""
    from churn.contract.in_force import SERVICES
    from churn.model.train import fit_baseline
    from churn.training.dataset import read_training_set

    frame = read_training_set(MONTH).rows.to_pandas()
    begun = time.perf_counter()
    for service in SERVICES:
        fit_baseline(frame, service)
    return time.perf_counter() - begun
