"""The drops that are put through the graph: the public population, month after month, labelled."""

from pathlib import Path

from bench.world import Sizes, World
from churn.months import Month
from churn.population.drops import write_drops

FIRST = Month.parse("2024-01")


def base_drops(world: World, sizes: Sizes, months: int | None = None) -> list[tuple[Month, Path]]:
    """Return the drops of the public population: one month to warm up, then those measured.

    Args:
        world: keeps them; a longer run adds to a shorter one.
        sizes: users, months and seed.
        months: measured ones; those of `sizes` if not given.
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
