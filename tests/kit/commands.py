"""Runs `churn` as a person does: another process, with a state folder and ports of its own."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

from typer.testing import CliRunner

from churn.cli.main import app
from churn.settings import get_settings
from churn.stack.processes import free_port

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # which a command answers
OURS = ("POSTGRES_", "MLFLOW_", "DAGSTER_", "CHURN_", "API_", "CONSOLE_", "METRICS_", "PGSSLMODE")


def as_another_user(told: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without coverage, whose files that user could not write."""
    return {name: value for name, value in told.items() if not name.startswith("COV")}


def environment(home: Path, **more: str) -> dict[str, str]:
    """Return an environment in which nothing of another stack is said."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith(OURS)}
    variables = ("MLFLOW_PORT", "DAGSTER_PORT", "API_PORT", "CONSOLE_PORT")
    ports = {name: str(free_port()) for name in variables}
    return {**plain, **ports, "CHURN_HOME": str(home), "COLUMNS": "200", **more}


def churn(told: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a churn command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "churn.cli.main", *arguments],
        env=dict(told), capture_output=True, text=True, check=False, timeout=1200,
    )  # fmt: skip


def answered(told: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a churn command within this process, which spares the start of one."""
    before = dict(os.environ)
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    os.environ.clear()
    os.environ.update(told)
    get_settings.cache_clear()
    try:
        result = CliRunner().invoke(app, arguments)
    finally:
        os.environ.clear()
        os.environ.update(before)
        get_settings.cache_clear()
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return subprocess.CompletedProcess(
        arguments, result.exit_code, stdout=result.stdout, stderr=result.stderr
    )


@contextlib.contextmanager
def postgres_held(told: Mapping[str, str], deaf: str = "") -> Iterator[subprocess.Popen[str]]:
    """Run a command that uses a Postgres of its own until it is told to stop, as `churn demo` does.

    Args:
        told: its environment.
        deaf: names of signals that are ignored where it is started, as in the background of a script.
    """
    script = textwrap.dedent("""
        import signal
        from churn.cli.main import app
        from churn.stack.supervisor import running_stack

        @app.command()
        def hold() -> None:
            with running_stack(("postgres",)):
                print("up", flush=True)
                signal.pause()

        app(["hold"])
    """)
    with subprocess.Popen(
        ["/bin/sh", "-c", f"trap '' {deaf or 'USR2'}; exec \"$@\"", "sh", sys.executable, "-c", script],
        env=dict(told), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            yield process
        finally:
            process.kill()
