"""What commands share: consoles, errors as people see them, progress of the stack, parsing of arguments."""

import contextlib
import datetime as dt
import os
import signal
import sys
import traceback
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from typer.core import TyperGroup

from churn.errors import ChurnError
from churn.months import Month
from churn.settings import PRIVATE, home_folder, wants_tracebacks

if TYPE_CHECKING:
    from churn.stack.health import PartHealth
    from churn.stack.processes import Report, State


# That of the person's shell, once a command has begun.
_persons_umask = PRIVATE
_COLOURS = {"healthy": "green", "unhealthy": "red", "stopped": "dim"}


def out() -> Console:
    """Return the console of answers."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=120)


def err() -> Console:
    """Return the console of errors and progress."""
    return Console(stderr=True, highlight=False)


class ChurnGroup(TyperGroup):
    """All commands: an error is shown as a sentence and ends with 1; SIGTERM cleans up as SIGINT does.

    No command goes through a proxy to what runs on this machine.
    """

    def invoke(self, ctx: Any) -> object:
        """Run the requested command, with a umask by which only the owner may read what it keeps."""
        global _persons_umask
        _persons_umask = os.umask(PRIVATE)
        try:
            return self._invoke(ctx)
        finally:
            os.umask(_persons_umask)

    def _invoke(self, ctx: Any) -> object:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # In a test, this may not be the main thread.
            with contextlib.suppress(ValueError):
                # In the background of a script, SIGINT is ignored. Every service would inherit that, and
                # Dagster treats SIGTERM as SIGINT. That nohup ignores SIGHUP does no harm.
                if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                    signal.signal(number, _interrupt)
        from churn.settings import loopback_without_proxy

        os.environ.update(loopback_without_proxy())
        try:
            return super().invoke(ctx)
        except ChurnError as error:
            err().print(f"[red]{escape(str(error))}[/red]", soft_wrap=True)
            raise typer.Exit(1) from error
        except KeyboardInterrupt:
            err().print("stopped")
            raise typer.Exit(130) from None
        except Exception as error:
            # Typer's own exceptions are wrong usage, an exit, an abort. Its copy of click is private.
            is_typers = type(error).__module__.startswith(("typer.", "click."))
            if is_typers or isinstance(error, BrokenPipeError) or wants_tracebacks():
                raise
            err().print(f"[red]{escape(_unexpected(error))}[/red]", soft_wrap=True)
            raise typer.Exit(1) from error


def _unexpected(error: Exception) -> str:
    """Return a sentence about an unexpected error, and keep its traceback in the state folder."""
    lines = str(error).strip().splitlines()
    what = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        what = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    try:
        log = home_folder() / "logs" / "errors.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.touch(mode=0o600)
        with log.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{datetime.now(UTC):%F %T} churn {' '.join(sys.argv[1:])}\n")
            file.writelines(traceback.format_exception(error))
    except (OSError, ChurnError):
        return f"unexpected: {what}\n  -> CHURN_DEBUG=1 shows where it comes from"
    return f"unexpected: {what}\n  -> the details are in {log}; CHURN_DEBUG=1 shows them here"


@contextlib.contextmanager
def as_the_person_has_it() -> Iterator[None]:
    """Write with the umask of the person's shell inside the block, since they may share files they named."""
    os.umask(_persons_umask)
    try:
        yield
    finally:
        os.umask(PRIVATE)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


@contextlib.contextmanager
def stack_progress() -> Iterator["Report"]:
    """Show which parts are starting, and a line for each that is ready or has stopped."""
    console = err()
    starting: dict[str, None] = {}
    with console.status("") as spinner:

        def report(name: str, state: "State", seconds: float) -> None:
            if state == "starting":
                starting[name] = None
            else:
                starting.pop(name, None)
                console.print(f"  [green]✓[/green] {name} {state} ({seconds:.1f} s)")
            spinner.update(f"starting {', '.join(starting)}" if starting else "")

        yield report


def health_table(parts: Iterable["PartHealth"]) -> Table:
    """Return the parts of the stack as a table: name, health, address."""
    table = Table("part", "health", "pid", "address", "", box=None, pad_edge=False)
    for part in parts:
        colour = _COLOURS[part.health]
        address = part.url or (f"127.0.0.1:{part.port}" if part.port else "")
        table.add_row(
            part.name,
            f"[{colour}]{part.health}[/{colour}]",
            str(part.pid or ""),
            address,
            escape(part.problem),
        )
    return table


def month_or_none(text: str | None) -> Month | None:
    """Parse a month, if one is given.

    Raises:
        ChurnError: the text is not a month.
    """
    return None if text is None else Month.parse(text)


def instant(text: str) -> dt.datetime:
    """Parse an instant: a day means its end in UTC, and a time needs its zone.

    Raises:
        ChurnError: the text is not an instant.
    """
    remedy = "write 2024-03-05 (the end of that day, UTC) or 2024-03-05T09:00+00:00"
    try:
        when = dt.datetime.fromisoformat(text)
    except ValueError:
        raise ChurnError(f"{text!r} is not a time", remedy=remedy) from None
    if "T" not in text and " " not in text:
        return dt.datetime.combine(when.date(), dt.time.max, dt.UTC)
    if when.tzinfo is None:
        raise ChurnError(f"{text!r} has no time zone", remedy="add +00:00")
    return when


def writable(path: Path | None) -> Path | None:
    """Return the file that is to be written, if any, after checking that it can be.

    Hours of work may lie between the command's start and the writing.

    Raises:
        ChurnError: it is a folder, its folder does not exist, or it may not be written.
    """
    if path is None:
        return None
    if path.is_dir():
        raise ChurnError("is a folder, not a file", where=str(path), remedy="name a file in it")
    if not path.parent.is_dir():
        raise ChurnError(
            f"there is no folder {path.parent}", where=str(path), remedy="make it first"
        )
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ChurnError(
            "may not be written", where=str(path), remedy="name a file that you may write"
        )
    return path
