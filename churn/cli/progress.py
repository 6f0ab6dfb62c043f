"""Progress of long work: one bar per stage, with the months done of the months due."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from churn.cli.screen import stack_progress
from churn.stack.parts import PARTS
from churn.stack.supervisor import running_stack

if TYPE_CHECKING:
    from churn_assets.batch import OnProgress  # brings Dagster


@contextmanager
def running(*parts: str) -> Iterator[None]:
    """Run the block beside the named parts of the stack (all, if none is named)."""
    with ExitStack() as at_end:
        # Its spinner must be gone before bars are drawn.
        with stack_progress() as report:
            at_end.enter_context(running_stack(parts or PARTS, report))
        yield


@contextmanager
def stage_bars(console: Console) -> Iterator["OnProgress"]:
    """Show bars while the block runs; yields the function that moves them."""
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("months"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[at]}"),
    )
    with Progress(*columns, console=console) as progress:
        bars = {}

        def move(stage: str, done: int, due: int, at: str) -> None:
            if stage not in bars:
                bars[stage] = progress.add_task(stage, total=due, at=at)
            progress.update(bars[stage], completed=done, total=due, at=at)
            if not console.is_terminal and (done or not at):
                console.print(f"{stage}: {done} of {due} months")

        yield move
