"""The drops that go through the graph: the public population, month by month, with labels."""

from pathlib import Path

from bench.world import Sizes, World
from churn.months import Month
from churn.population.drops import write_drops

FIRST = Month.parse("2024-01")


def base_drops(world: World, sizes: Sizes, months: int | None = None) -> list[tuple[Month, Path]]:
    """Return the drops of the public population: one month to warm up, then those measured.

    Args:
        world: the place where they are kept; a longer run adds to a shorter one.
        sizes: users, months and seed.
        months: how many are measured; None takes those of `sizes`.
    """
    folders = write_drops(
        world.folder("base"),
        first=FIRST,
        users=sizes.base_users,
        months=sizes.warm_ups + (months or sizes.months),
        seed=sizes.seed,
        label_last_month=True,
    )
    return [(FIRST.shift(number), folder) for number, folder in enumerate(folders)]
