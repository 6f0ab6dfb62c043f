"""Features of a training set as known at each row's time: our store, Feast's own, and plain DuckDB ASOF."""

from contextlib import ExitStack
from dataclasses import replace
from functools import partial

from bench import joins
from bench.lake import fill_lake, write_entity_rows
from bench.rows import Goal, Row, Spread, at_least, at_most
from bench.worker import Say, Worker, take_turns
from bench.world import Sizes, World

OURS, ASOF = "ours", "plain DuckDB ASOF"
DUCKDB, POSTGRES = "Feast duckdb store", "Feast postgres store"
_WAYS = {
    OURS: joins.through_our_store,
    ASOF: joins.by_asof,
    DUCKDB: joins.through_feast_duckdb,
    POSTGRES: joins.through_feast_postgres,
}
_NOTE = (
    "14 features of 4 views, from a Parquet file of entity rows to an Arrow table; corrections and"
    " withdrawn users in the lake; all rows of all ways equal"
)


def measure(world: World, sizes: Sizes, say: Say) -> list[Row]:
    """Compare a third of all user months with everything, and then every user month with ASOF."""
    users, months = (50_000, 36) if sizes.full else (max(sizes.users // 10, 100), 12 * sizes.months)
    many = 1_000_000 if sizes.full else sizes.users
    return [
        _row(world, sizes, say, users, months, users * months // 3, (ASOF, DUCKDB, POSTGRES)),
        _row(world, sizes, say, many, 12, many * 12, (ASOF,)),
    ]


def _row(
    world: World, sizes: Sizes, say: Say, users: int, months: int, rows: int, peers: tuple[str, ...]
) -> Row:
    name = f"training_{len(peers)}"
    with world.state(name, features=True) as settings, ExitStack() as stack:
        say(f"making {months} months of {users:,} users")
        entities = settings.home / "entities.parquet"
        ids = fill_lake(settings.lake, users, months, sizes.seed)
        write_entity_rows(entities, ids, months, rows, sizes.seed)
        workers = {way: stack.enter_context(Worker()) for way in (OURS, *peers)}
        turns = {way: partial(worker.time, _WAYS[way], entities) for way, worker in workers.items()}
        slow = {way: turns.pop(way) for way in peers if way == POSTGRES}
        runs_by_way = take_turns(turns, sizes, say)
        if slow:
            say("loading Postgres")
            workers[POSTGRES].run(joins.load_tables, settings.home)
            # It takes minutes, so it runs once.
            runs_by_way |= take_turns(slow, replace(sizes, runs=1, warm_ups=0), say)
        peaks = {way: worker.peak_mb() for way, worker in workers.items()}
        contents = {way: worker.run(joins.content) for way, worker in workers.items()}
    if len(set(contents.values())) > 1:
        raise AssertionError(f"the ways gave different rows: {contents}")
    seconds = {
        way: Spread.of([timed.seconds for timed in runs]) for way, runs in runs_by_way.items()
    }
    return Row(
        "training set" if POSTGRES in peers else "training set, every user and month",
        f"{rows:,} rows of {months} months x {users:,} users",
        seconds[OURS],
        "s",
        beside={way: seconds[way] for way in peers},
        peak_mb=peaks,
        goals=_goals(seconds, peaks[OURS]),
        note=_NOTE,
    )


def _goals(seconds: dict[str, Spread], peak_mb: float) -> list[Goal]:
    ours = seconds[OURS].median
    goals = [at_most("ratio", ours / seconds[ASOF].median, 1.0)]
    for peer, times in ((DUCKDB, 2.5), (POSTGRES, 15)):
        if peer in seconds:
            goals.append(at_least(f"times faster than {peer}", seconds[peer].median / ours, times))
    most = 1_000 if DUCKDB in seconds else 6_000
    return [*goals, at_most("peak memory", peak_mb, most, " MB")]
