"""Growth: seconds of each stage at populations ten times apart, the exponent of each, and their plot."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.core import TO_TRAINING_SET
from bench.drops import FIRST
from bench.rows import Row, Spread, at_most
from bench.worker import Say, Worker
from bench.world import Sizes, World
from churn.population.drops import write_drops

# A row's name is this and the stage's.
NAME = "growth: "
SMALL, FULL = (7_000, 21_000, 70_000), (7_000, 70_000, 700_000, 7_000_000)
# The warm-up has this many users; its imports and first connections are not counted.
LEAST_USERS = 1_000


def measure(world: World, sizes: Sizes, say: Say) -> list[Row]:
    """Play one month at each size, up to its training set, since models are fitted on a sample of fixed size.

    Each size has its own state and its own process.
    """
    populations = FULL if sizes.full else tuple(n * sizes.users // 100_000 or 1 for n in SMALL)
    seconds: dict[str, list[float]] = {name: [] for name in TO_TRAINING_SET}
    peaks: dict[str, float] = {}
    for users in populations:
        with world.state(f"growth_{users}", features=True), Worker() as worker:
            for number, size in enumerate((min(users, LEAST_USERS), users)):
                month = FIRST.shift(number)
                say(f"{size:,} users: making them")
                drop = _drop(world.folder(f"growth_{users}_{number}"), number, size, sizes.seed)
                for name, stage in TO_TRAINING_SET.items():
                    say(f"{size:,} users: {name}")
                    taken = worker.time(stage, month, drop).seconds
                    if number:
                        seconds[name].append(taken)
            peaks[f"{users:,} users"] = worker.peak_mb()
    return [_row(name, populations, taken, peaks) for name, taken in seconds.items()]


def exponent(users: Sequence[int], seconds: Sequence[float]) -> float:
    """Return the slope of the least-squares line through the logarithms; 1 is linear growth."""
    return float(np.polyfit(np.log(users), np.log(seconds), 1)[0])


def growth_png(records: Sequence[dict[str, Any]]) -> bytes:
    """Draw the kept seconds of each stage over the users, both logarithmic, beside linear growth."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    most, users = 0.0, [0]
    for record in records:
        if not record["name"].startswith(NAME):
            continue
        taken = {int(name.split("_")[1]): seconds for name, seconds in record["more"].items()}
        users, most = list(taken), max(most, *taken.values())
        stage = record["name"].removeprefix(NAME)
        axes.loglog(users, list(taken.values()), "o-", label=f"{stage}: {record['ours']:.2f}")
    axes.loglog(users, [most * n / users[-1] for n in users], "k--", label="a straight line: 1.00")
    axes.set(
        xlabel="users", ylabel="seconds", title="A month by stage, and the exponent of its growth"
    )
    axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _drop(folder: Path, number: int, users: int, seed: int) -> Path:
    [drop] = write_drops(
        folder, first=FIRST.shift(number), users=users, months=1, seed=seed, label_last_month=True
    )
    return drop


def _row(name: str, users: Sequence[int], seconds: Sequence[float], peaks: dict[str, float]) -> Row:
    slope = exponent(users, seconds)
    return Row(
        f"{NAME}{name}",
        f"{users[0]:,} to {users[-1]:,} users",
        Spread.of([slope]),
        "exponent",
        more={f"s_{n}_users": Spread.of([taken]) for n, taken in zip(users, seconds, strict=True)},
        peak_mb=peaks,
        goals=[at_most("exponent", slope, 1.05)],
        note="least squares on logarithms of one run per size; 1 is a straight line",
    )
