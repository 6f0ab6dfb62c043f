"""`python -m bench`: measures every row in an environment of its own, prints the table and writes JSON."""

import signal
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench import (
    backfill,
    batch_scoring,
    contract_change,
    growth,
    http_features,
    http_predict,
    ingest,
    online_reads,
    publish,
    reasons,
    redis_copy,
    startup,
    training_set,
    whole_month,
)
from bench.document import LATEST, read_results
from bench.machine import describe_machine
from bench.report import header, shown, table, write_json
from bench.rows import Row
from bench.world import Sizes, World

SECTIONS = {
    "ingest": ingest.measure,
    "training-set": training_set.measure,
    "publish": publish.measure,
    "online-reads": online_reads.measure,
    "redis": redis_copy.measure,
    "http-features": http_features.measure,
    "http-predict": http_predict.measure,
    "batch-scoring": batch_scoring.measure,
    "reasons": reasons.measure,
    "backfill": backfill.measure,
    "whole-month": whole_month.measure,
    "startup": startup.measure,
    "growth": growth.measure,
    # The last section, since what it adds to the served database stays there.
    "contract-change": contract_change.measure,
}


def main(
    months: Annotated[int, typer.Option(min=1, help="Months measured, after one to warm up.")] = 3,
    users: Annotated[
        int, typer.Option(min=100, help="Users of ingest and training set.")
    ] = 100_000,
    runs: Annotated[
        int | None,
        typer.Option(
            min=1,
            show_default="5 at full size, else 3",
            help="Runs of each way, after one to warm up.",
        ),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help=f"Of {', '.join(SECTIONS)}; may be repeated.")
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Every row at its full size; takes an hour or more.")
    ] = False,
    json_file: Annotated[
        Path, typer.Option("--json", help="Write the figures here, one record per row.")
    ] = LATEST,
    add: Annotated[
        bool, typer.Option("--add", help="Keep the rows that are there and not measured again.")
    ] = False,
) -> None:
    """Measure the pipeline stage by stage, and compare it with what one could use instead.

    Works in a temporary folder with a Postgres, an MLflow server and an API of its own on free ports; a
    running stack is not touched. The figures are meaningful only on a quiet machine.
    """
    # Otherwise, its servers would outlive it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # In the background of a script, SIGINT is ignored; but it is what ends `dagster dev`.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    unknown = set(only or []) - set(SECTIONS)
    if unknown:
        raise typer.BadParameter(f"no section is called {', '.join(sorted(unknown))}")
    machine = describe_machine()
    console = Console()
    console.print(header(machine))
    sizes = Sizes(full=full, months=months, users=users, runs=runs or (5 if full else 3))
    kept = read_results(json_file) if add else []
    rows: list[Row] = []
    failed = []
    with tempfile.TemporaryDirectory(prefix="churn-bench-") as folder, World(Path(folder)) as world:
        for name, measure in SECTIONS.items():
            if not only or name in only:
                try:
                    with shown(Console(stderr=True), name) as say:
                        rows += measure(world, sizes, say)
                except Exception:
                    # Hours of other sections' figures must not be lost with it.
                    Console(stderr=True).print_exception()
                    failed.append(name)
                # What has been measured is kept, whatever comes next.
                write_json(rows, machine, json_file, kept)
    console.print(table(rows))
    if failed:
        console.print(f"not measured: {', '.join(failed)}")
        raise typer.Exit(1)


# Worker processes import this module, too.
if __name__ == "__main__":
    typer.run(main)
