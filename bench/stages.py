"""Seconds per stage and month: the core functions alone, and the same months through the Dagster graph."""

from collections.abc import Callable
from pathlib import Path

from bench.graph import arrival, month_through_graph
from bench.rows import Row, Spread
from bench.worker import Say, Worker
from bench.world import Sizes, World
from churn.contract.features import VIEWS
from churn.contract.tables import TABLES
from churn.months import Month
from churn.population.drops import write_drops
from churn.settings import get_settings

FIRST = Month.parse("2024-01")
Stage = Callable[[Month, Path], None]


def measure(world: World, sizes: Sizes, say: Say) -> list[Row]:
    say(f"making {sizes.base_users:,} users, {sizes.months} months and {sizes.warm_ups} to warm up")
    drops = base_drops(world, sizes)
    stages, core_peak = _core(world, drops, say)
    graph, graph_peak = _graph(world, drops, say)
    skip = sizes.warm_ups
    size = f"a month of {sizes.base_users:,} users"
    rows = [Row(name, size, Spread.of(runs[skip:]), "s") for name, runs in stages.items()]
    core = Spread.of([sum(month) for month in list(zip(*stages.values(), strict=True))[skip:]])
    return [
        *rows,
        Row(
            "whole month through Dagster",
            size,
            Spread.of(graph[skip:]),
            "s",
            beside={"core functions": core},
            peak_mb={"ours": graph_peak, "core functions": core_peak},
            note="with asset checks, MLflow records, report and the smoke test of the API",
        ),
    ]


def base_drops(world: World, sizes: Sizes) -> list[tuple[Month, Path]]:
    """Return the labelled drops of the public population: one month to warm up, then those measured."""
    folders = write_drops(
        world.folder("base"),
        first=FIRST,
        users=sizes.base_users,
        months=sizes.warm_ups + sizes.months,
        seed=sizes.seed,
        label_last_month=True,
    )
    return [(FIRST.shift(number), folder) for number, folder in enumerate(folders)]


def _core(
    world: World, drops: list[tuple[Month, Path]], say: Say
) -> tuple[dict[str, list[float]], float]:
    seconds: dict[str, list[float]] = {name: [] for name in STAGES}
    with world.state("stages", features=True):
        world.start("mlflow")
        with Worker() as worker:
            for month, drop in drops:
                for name, stage in STAGES.items():
                    say(f"{month}: {name}")
                    seconds[name].append(worker.time(stage, month, drop).seconds)
            return seconds, worker.peak_mb()


def _graph(world: World, drops: list[tuple[Month, Path]], say: Say) -> tuple[list[float], float]:
    with world.served(), Worker() as worker:
        seconds = []
        for month, drop in drops:
            say(f"{month}: through Dagster")
            seconds.append(worker.time(month_through_graph, month, drop).seconds)
        return seconds, worker.peak_mb()


def _deliver(month: Month, drop: Path) -> None:
    from churn.deliveries import deliver

    deliver(drop, settings=get_settings(), now=arrival(month), month=month)


def _raw(month: Month, drop: Path) -> None:
    from churn.raw import load_raw

    for table in TABLES:
        load_raw(month, table)


def _snapshots(month: Month, drop: Path) -> None:
    from churn.snapshots import build_snapshot

    for table in TABLES:
        build_snapshot(month, table)


def _views(month: Month, drop: Path) -> None:
    from churn.lake import write_view

    for view in VIEWS:
        write_view(month, view)


def _online(month: Month, drop: Path) -> None:
    from churn.online import publish

    publish(month)


def _training_set(month: Month, drop: Path) -> None:
    from churn.training.dataset import build_training_set

    build_training_set(month)


def _models(month: Month, drop: Path) -> None:
    from churn.model.monthly import train_models

    train_models(month)


STAGES: dict[str, Stage] = {
    "deliver": _deliver,
    "raw tables": _raw,
    "snapshots": _snapshots,
    "feature views": _views,
    "online": _online,
    "training set": _training_set,
    "models": _models,
}
