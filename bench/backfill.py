"""Months through the whole graph, as by `churn run`, compared with the stages' own functions without it."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from bench.core import STAGES
from bench.drops import base_drops
from bench.family import peaks_of, processor_seconds
from bench.graph import through_graph
from bench.rows import Row, Spread, at_most
from bench.worker import Say, Worker
from bench.world import Sizes, World
from churn.database import connect
from churn.months import Month

FULL_MONTHS, MOST_SECONDS, MOST_OVERHEAD = 24, 240, 1.2
ALONE = "the stages' own compute, one process"
Drops = list[tuple[Month, Path]]


@dataclass(frozen=True)
class Run:
    """Some months, done in one way.

    Attributes:
        elapsed: seconds from the first drop to the last report.
        processor: seconds of all processes that took part, including Postgres, MLflow and the API.
        parts: seconds of each month by part of the work; for the graph, of all months by job.
        peak_mb: of the processes that did the work, added up, without Postgres, MLflow and the API.
        content: hashes of the results.
    """

    elapsed: float
    processor: float
    parts: dict[str, list[float]]
    peak_mb: float
    content: list[tuple[object, ...]]


def measure(world: World, sizes: Sizes, say: Say) -> list[Row]:
    months = FULL_MONTHS if sizes.full else sizes.months
    say(f"making {sizes.base_users:,} users, {months} months and {sizes.warm_ups} to warm up")
    drops = base_drops(world, sizes, months)
    early, counted = drops[: sizes.warm_ups], drops[sizes.warm_ups :]
    graph = _graph(World(world.folder("backfill_graph")), early, counted, say)
    alone = _alone(World(world.folder("backfill_alone")), early, counted, say)
    if graph.content != alone.content:
        raise AssertionError("the graph and its stages alone came to different results")
    return [_backfill(graph, alone, months, sizes), _stages(alone, sizes)]


def _backfill(graph: Run, alone: Run, months: int, sizes: Sizes) -> Row:
    over = graph.processor / alone.processor
    goals = [
        at_most("elapsed beside own compute", graph.elapsed / alone.elapsed, MOST_OVERHEAD),
        at_most("processor time beside theirs", over, MOST_OVERHEAD),
    ]
    if sizes.full:
        goals.append(at_most("elapsed", graph.elapsed, MOST_SECONDS, " s"))
    work = sum(seconds for [seconds] in graph.parts.values())
    return Row(
        "backfill, whole graph",
        f"{months} months x {sizes.base_users:,} users, models included",
        Spread.of([graph.elapsed]),
        "s",
        beside={ALONE: Spread.of([alone.elapsed])},
        more={
            "processor_s": Spread.of([graph.processor]),
            "processor_s of the stages alone": Spread.of([alone.processor]),
            "s of work, both processes added": Spread.of([work]),
            **{f"s {job}": Spread.of(seconds) for job, seconds in graph.parts.items()},
        },
        peak_mb={"ours, both processes": graph.peak_mb, ALONE: alone.peak_mb},
        goals=goals,
        limit={} if all(goal.met for goal in goals) else {ALONE: alone.elapsed},
        note="the graph works in two processes that share the cores, so its work is more than its elapsed"
        " time; processor time counts Postgres, MLflow and API; scores, actions and decisions equal",
    )


def _stages(alone: Run, sizes: Sizes) -> Row:
    return Row(
        "a month's stages, core functions alone",
        f"a month of {sizes.base_users:,} users",
        Spread.of([sum(month) for month in zip(*alone.parts.values(), strict=True)]),
        "s",
        more={f"s {name}": Spread.of(seconds) for name, seconds in alone.parts.items()},
        note="performance, uplift and report are made twice, as the graph does: after training and scoring",
    )


def _graph(own: World, early: Drops, counted: Drops, say: Say) -> Run:
    with own, own.served(), Worker() as worker:
        for month in early:
            say("warm-up through the graph")
            worker.run(through_graph, [month])
        say(f"{len(counted)} months through the graph")
        before = processor_seconds()
        with peaks_of(worker.run(pid)) as peaks:
            elapsed, jobs = worker.run(through_graph, counted)
        spent = processor_seconds() - before
        parts = {job: [seconds] for job, seconds in jobs.items()}
        return Run(elapsed, spent, parts, sum(peaks.values()), worker.run(contents))


def _alone(own: World, early: Drops, counted: Drops, say: Say) -> Run:
    with own, own.served(), Worker() as worker:
        for month, drop in early:
            for name, stage in STAGES:
                say(f"{name}, warm-up")
                worker.run(stage, month, drop)
        parts: dict[str, list[float]] = defaultdict(list)
        before = processor_seconds()
        for month, drop in counted:
            seconds: dict[str, float] = defaultdict(float)
            for name, stage in STAGES:
                say(f"{month}: {name}")
                seconds[name] += worker.time(stage, month, drop).seconds
            for name, spent in seconds.items():
                parts[name].append(spent)
        processor = processor_seconds() - before
        elapsed = sum(map(sum, parts.values()))
        return Run(elapsed, processor, dict(parts), worker.peak_mb(), worker.run(contents))


def pid() -> int:
    import os

    return os.getpid()


def contents() -> list[tuple[object, ...]]:
    """Return counts and hashes of all scores and actions, and what was decided."""
    from churn.promotion.ledger import entries

    with connect() as connection:
        hashes = [
            connection.execute(query).fetchone() or ()
            for query in (
                "SELECT count(*), sum(hashtextextended(ROW(as_of, user_id, probability, rank,"
                " expected_profit, is_action)::text, 0)) FROM churn_scores",
                "SELECT count(*), sum(hashtextextended(ROW(a.*)::text, 0)) FROM action_list AS a",
            )
        ]
    decided = [(str(entry.month), entry.outcome) for entry in entries()]
    return [*hashes, tuple(decided)]
