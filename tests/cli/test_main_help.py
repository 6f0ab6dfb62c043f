import subprocess
import sys

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from churn.cli.main import app

COMMANDS = get_command(app).commands  # type: ignore[attr-defined]
WANTED = {
    "up", "down", "status", "init", "demo", "generate", "deliver", "run", "train", "predict",
}  # fmt: skip


def test_every_command_of_the_contract_is_there() -> None:
    assert set(COMMANDS) >= WANTED


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_teaches(name: str) -> None:
    command = COMMANDS[name]
    for parameter in command.params:
        assert parameter.help, f"{name} {parameter.name}"
    answer = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "100"})
    assert answer.exit_code == 0
    assert "Example" in answer.stdout
    assert f"churn {name}" in answer.stdout


def test_without_a_command_help_is_shown() -> None:
    answer = CliRunner().invoke(app, [])
    for name in WANTED:
        assert f" {name} " in answer.stdout


def test_help_imports_nothing_heavy() -> None:
    script = "import sys, churn.cli.main; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    heavy = {"pandas", "pyarrow", "mlflow", "dagster", "feast", "sklearn", "psycopg", "duckdb"}
    assert not heavy & loaded
    assert len(loaded) < 600  # some 400 as this is written; the graph loads several thousand


def test_an_error_for_a_person_has_no_traceback() -> None:
    answer = CliRunner().invoke(app, ["init", "--only", "redis"])
    assert answer.exit_code == 1
    assert "unknown: redis" in answer.stderr
    assert "Traceback" not in answer.output
    assert not isinstance(answer.exception, typer.Exit)
