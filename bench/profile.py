"""`python -m bench.profile`: samples where a month's seconds go, by stage of the graph and by library."""

import json
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Console

from bench.drops import base_drops
from bench.graph import arrival
from bench.machine import describe_machine
from bench.report import shown
from bench.worker import Say
from bench.world import Sizes, World
from churn.markdown import table
from churn.months import Month

KEPT = Path(__file__).parent / "results" / "profile.json"
JOBS = ("month_close", "train_month", "score_month")
# The stage of everything that is not inside an asset's own function.
AROUND = "Dagster and records"
_OURS = ("churn", "churn_assets", "feature_repo", "api")
_ROOT = Path(__file__).parents[1]
# In churn_assets; whatever is called from it belongs to a stage.
_SHELL = "monthly.py"
_PERIOD_SECONDS = 0.004
# Job, stage and library.
Where = tuple[str, str, str]


class Sampler(threading.Thread):
    """Samples one thread's stack every few milliseconds, and adds up the time since the last sample.

    Native code and waiting for a server count for the library that called.
    """

    def __init__(self, watched: int) -> None:
        super().__init__(name="sampler", daemon=True)
        self.watched, self.job = watched, ""
        self.seconds: dict[Where, float] = defaultdict(float)
        self.ended = threading.Event()
        self._last_look = time.perf_counter()

    def run(self) -> None:
        """Take samples until the end."""
        while not self.ended.wait(_PERIOD_SECONDS):
            self.look(time.perf_counter())

    def look(self, now: float) -> None:
        """Add the time since the last sample to what the thread is doing now."""
        # The standard library has no other way.
        frame = sys._current_frames().get(self.watched)
        if frame is not None and self.job:
            self.seconds[(self.job, *where(frame))] += now - self._last_look
        self._last_look = now


@contextmanager
def sampling() -> Iterator[Sampler]:
    """Sample the calling thread until the block ends."""
    sampler = Sampler(threading.get_ident())
    sampler.start()
    try:
        yield sampler
    finally:
        sampler.ended.set()
        sampler.join()


def where(innermost: FrameType) -> tuple[str, str]:
    """Return the stage that a stack is in, and the library at work, which is the innermost one.

    A stage is the module of churn_assets whose function makes the asset. The standard library counts for
    whatever calls it.
    """
    stage, library = AROUND, ""
    frame: FrameType | None = innermost
    inner: Path | None = None
    while frame is not None:
        file = Path(frame.f_code.co_filename)
        library = library or _library(file)
        if file.name == _SHELL and file.parent.name == "churn_assets":
            if inner is not None and inner.parent.name == "churn_assets":
                stage = inner.stem
            break
        inner = file
        frame = frame.f_back
    return stage, library or "Python"


def _library(file: Path) -> str:
    parts = file.parts
    if "site-packages" in parts:
        name = parts[len(parts) - parts[::-1].index("site-packages")]
        return name.removesuffix(".py").removeprefix("_")
    if file.is_relative_to(_ROOT):
        package = file.relative_to(_ROOT).parts[0]
        return "ours" if package in _OURS else package
    return ""


def profile(world: World, sizes: Sizes, say: Say) -> dict[Where, float]:
    """Play months one by one in this process, as the command line does; return the seconds that count."""
    drops = base_drops(world, sizes)
    with world.served(), sampling() as sampler:
        for number, (month, drop) in enumerate(drops):
            say(str(month))
            _play(month, drop, sampler, counted=number >= sizes.warm_ups)
    return sampler.seconds


def _play(month: Month, drop: Path, sampler: Sampler, *, counted: bool) -> None:
    from churn.deliveries import deliver
    from churn.settings import get_settings
    from churn_assets.run import instance, run_job

    deliver(drop, settings=get_settings(), now=arrival(month), month=month)
    with instance() as dagster:
        for job in JOBS:
            sampler.job = job if counted else ""
            result = run_job(job, month, dagster)
            sampler.job = ""
            if not result.succeeded or result.failures:
                raise AssertionError(f"{job} of {month}: {'; '.join(result.failures)}")


def records(seconds: dict[Where, float], months: int) -> list[dict[str, Any]]:
    """Return seconds per month by job, stage and library; jobs in their order, the longest stage first."""
    stages: dict[tuple[str, str], float] = defaultdict(float)
    for (job, stage, _), spent in seconds.items():
        stages[job, stage] += spent
    dearest = sorted(seconds.items(), key=lambda item: -item[1])
    ordered = sorted(stages, key=lambda key: (JOBS.index(key[0]), -stages[key]))
    return [
        {
            "job": job,
            "stage": stage,
            "seconds": round(stages[job, stage] / months, 3),
            "libraries": {
                library: round(spent / months, 3)
                for (at_job, at_stage, library), spent in dearest
                if (at_job, at_stage) == (job, stage)
            },
        }
        for job, stage in ordered
    ]


def markdown(kept: dict[str, Any], shown_libraries: int = 4, least: float = 0.01) -> str:
    """Return the docs' table: stages that take at least `least` of the whole, and their longest libraries."""
    stages: Sequence[dict[str, Any]] = kept["stages"]
    whole = sum(stage["seconds"] for stage in stages)
    rows = []
    for stage in stages:
        if stage["seconds"] < least * whole:
            continue
        longest = list(stage["libraries"].items())[:shown_libraries]
        inside = ", ".join(f"{name} {spent / stage['seconds']:.0%}" for name, spent in longest)
        share = f"{stage['seconds'] / whole:.1%}"
        rows.append((stage["job"], stage["stage"], share, inside))
    head = (
        f"A month of {kept['users']:,} users, alone in one process: {whole:.1f} s; load before"
        f" {kept['machine']['load_before']}."
    )
    return "\n".join([head, "", *table(("job", "stage", "share", "most of it"), rows)])


def main(
    months: Annotated[int, typer.Option(min=1, help="Months sampled, after two to warm up.")] = 2,
    json_file: Annotated[Path, typer.Option("--json", help="Write the seconds here.")] = KEPT,
) -> None:
    """Sample where months' seconds go, in a world of its own; `bench.document` puts it into the docs."""
    # The second month is the first with a release, so two are needed to warm up.
    sizes = Sizes(months=months, warm_ups=2)
    machine = describe_machine()
    with (
        tempfile.TemporaryDirectory(prefix="churn-profile-") as folder,
        World(Path(folder)) as world,
        shown(Console(stderr=True), "profile") as say,
    ):
        stages = records(profile(world, sizes, say), months)
    kept = {"machine": machine, "users": sizes.base_users, "months": months, "stages": stages}
    json_file.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    Console().print(markdown(kept), soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
