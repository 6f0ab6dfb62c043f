"""What the bench shows: progress while it works, then the machine and a table; and the results as JSON."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.panel import Panel
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench.rows import Goal, Row, Spread
from bench.worker import Say


@contextmanager
def shown(console: Console, section: str) -> Iterator[Say]:
    """Show what a section is working on, and at the end how long it took."""
    columns = (
        SpinnerColumn(finished_text="[green]done[/green]"),
        TextColumn("{task.description:<14}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[at]}"),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(section, total=1, at="")
        yield lambda text: progress.update(task, at=text)
        progress.update(task, at="", completed=1)


def header(machine: dict[str, Any]) -> Panel:
    """Return the machine and the versions in a frame."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return Panel(
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, {machine['system']},"
        f" load before {machine['load_before']}\nPython {machine['python']}, {versions}",
        title="machine and versions",
    )


def table(rows: Sequence[Row]) -> Group:
    """Return the table, ratios first, with the notes below it."""
    shape = Table(title="medians (smallest-largest run)", show_lines=True)
    for name in ("ratio", "what", "ours", "beside", "goal", "more of ours", "peak memory"):
        shape.add_column(name, justify="right" if name == "ratio" else "left")
    notes: list[str] = []
    for row in rows:
        mark = ""
        if row.note:
            if row.note not in notes:
                notes.append(row.note)
            mark = f" [{notes.index(row.note) + 1}]"
        shape.add_row(
            f"{row.ratio:.2f}" if row.ratio is not None else "",
            f"{row.name}{mark}\n[dim]{row.size}[/dim]",
            f"{_text(row.ours)} {row.unit}",
            "\n".join(f"{_text(spread)} {name}" for name, spread in row.beside.items()),
            "\n".join(
                [*map(_goal, row.goals), *(f"limit {number(v)} {n}" for n, v in row.limit.items())]
            ),
            "\n".join(f"{_text(spread)} {name}" for name, spread in row.more.items()),
            "\n".join(f"{mb:,.0f} MB {name}" for name, mb in row.peak_mb.items()),
        )
    shape.caption = "ratio: ours as a multiple of the first one beside it"
    return Group(shape, *(f"[{at}] {note}" for at, note in enumerate(notes, 1)))


def write_json(
    rows: Sequence[Row], machine: dict[str, Any], path: Path, kept: Sequence[dict[str, Any]] = ()
) -> None:
    """Write one record per row; each has its machine, so that no figure is without it.

    Args:
        rows: what was measured.
        machine: what it was measured on.
        path: of the file.
        kept: earlier records; a new one replaces that of the same name and size.
    """
    measured = [row.record() | {"machine": machine} for row in rows]
    records = {(r["name"], r["size"]): r for r in [*kept, *measured]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([*records.values()], indent=2) + "\n", encoding="utf-8")


def _goal(goal: Goal) -> str:
    return f"[green]met[/green] {goal.text}" if goal.met else f"[red]not met[/red] {goal.text}"


def _text(spread: Spread) -> str:
    median, low, high = map(number, (spread.median, spread.low, spread.high))
    return f"[bold]{median}[/bold]" + ("" if low == high else f" ({low}-{high})")


def number(value: float) -> str:
    """Return a figure with three significant digits or, from 100 on, as a whole number."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.3g}"
