"""Growth: seconds of each stage at populations ten times apart, the exponent of each, and their plot."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bench.rows import Row, Spread, at_most
from bench.stages import FIRST, STAGES
from bench.worker import Say, Worker
from bench.world import Sizes, World
from churn.population.drops import write_drops

SMALL, FULL = (7_000, 21_000, 70_000), (7_000, 70_000, 700_000, 7_000_000)
LEAST_USERS = 1_000  # of the warm-up, whose imports and first connections are not counted
LEFT_OUT = ("models",)  # a forest is fitted on a sample of fixed size


def measure(world: World, sizes: Sizes, say: Say) -> list[Row]:
    """Play one month at each size; each has a state and a process of its own."""
    populations = FULL if sizes.full else tuple(n * sizes.users // 100_000 or 1 for n in SMALL)
    stages = {name: stage for name, stage in STAGES.items() if name not in LEFT_OUT}
    seconds: dict[str, list[float]] = {name: [] for name in stages}
    peaks: dict[str, float] = {}
    for users in populations:
        with world.state(f"growth_{users}", features=True), Worker() as worker:
            for number, size in enumerate((min(users, LEAST_USERS), users)):
                month = FIRST.shift(number)
                say(f"{size:,} users: making them")
                drop = _drop(world.folder(f"growth_{users}_{number}"), number, size, sizes.seed)
                for name, stage in stages.items():
                    say(f"{size:,} users: {name}")
                    taken = worker.time(stage, month, drop).seconds
                    if number:
                        seconds[name].append(taken)
            peaks[f"{users:,} users"] = worker.peak_mb()
    return [_row(name, populations, taken, peaks) for name, taken in seconds.items()]


def exponent(users: Sequence[int], seconds: Sequence[float]) -> float:
    """Return the slope of the least-squares line through the logarithms: 1 grows as the work does."""
    return float(np.polyfit(np.log(users), np.log(seconds), 1)[0])


def plot(path: Path, users: Sequence[int], seconds: Mapping[str, Sequence[float]]) -> None:
    """Draw the seconds of each stage over the users, both logarithmic, beside a straight line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    for name, taken in seconds.items():
        axes.loglog(users, taken, marker="o", label=f"{name}: {exponent(users, taken):.2f}")
    start = max(taken[0] for taken in seconds.values())
    axes.loglog(users, [start * n / users[0] for n in users], "k--", label="a straight line: 1.00")
    axes.set(
        xlabel="users", ylabel="seconds", title="A month by stage, and the exponent of its growth"
    )
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, metadata={"Software": None})


def _drop(folder: Path, number: int, users: int, seed: int) -> Path:
    [drop] = write_drops(
        folder, first=FIRST.shift(number), users=users, months=1, seed=seed, label_last_month=True
    )
    return drop


def _row(name: str, users: Sequence[int], seconds: Sequence[float], peaks: dict[str, float]) -> Row:
    found = exponent(users, seconds)
    return Row(
        f"growth: {name}",
        f"{users[0]:,} to {users[-1]:,} users",
        Spread.of([found]),
        "exponent",
        more={f"s_{n}_users": Spread.of([taken]) for n, taken in zip(users, seconds, strict=True)},
        peak_mb=peaks,
        goals=[at_most("exponent", found, 1.05)],
        note="least squares on logarithms of one run per size; 1 is a straight line",
    )
