"""Slips of the pen on the command line and in the environment: told in words, never by a traceback."""

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from churn.cli import decisions as ledger
from churn.cli.main import app
from churn.settings import Settings, get_settings
from churn.stack.health import PartHealth


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("CHURN_HOME", str(tmp_path / "home"))
    get_settings.cache_clear()
    yield tmp_path / "home"
    get_settings.cache_clear()


def churn(*arguments: str) -> Result:
    get_settings.cache_clear()
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "160"})


def told(answer: Result) -> str:
    """Return what a person reads of a command that failed."""
    assert answer.exit_code == 1
    assert isinstance(answer.exception, SystemExit)
    assert "Traceback" not in answer.output
    return answer.stderr


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("train --month 2024-13", "'2024-13' is not a month"),
        ("train --month 0000-01", "'0000-01' is not a month"),
        ("train --month 2024-01 --as-known 2024-13-01", "'2024-13-01' is not a time"),
        ("train --month 2024-01 --as-known 2024-05-10T09:00", "has no time zone"),
        ("actions --month May", "'May' is not a month"),
        ("actions --month 2024-01 --out .", "is a folder, not a file"),
        ("run --drops . --from 2024-13", "'2024-13' is not a month"),
        ("run --drops DROPS --json nowhere/out.json", "there is no folder nowhere"),
        ("simulate --json nowhere/out.json", "there is no folder nowhere"),
        ("deliver nowhere", "there is no folder nowhere"),
        ("deliver DROPS --known-at 99999-01-01", "is not a time"),
        ("deliver DROPS --month ''", "'' is not a month"),
        ("feast teardown", "churn feast teardown --yes"),
    ],
)
def test_a_wrong_argument(tmp_path: Path, command: str, message: str) -> None:
    (tmp_path / "month_000").mkdir()
    arguments = [a.replace("DROPS", str(tmp_path)).strip("'") for a in command.split()]
    assert message in re.sub(r"\s+", " ", told(churn(*arguments)))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("API_PORT", "99999", "API_PORT=99999: Input should be less than or equal to 65535"),
        ("MLFLOW_PORT", "five", "MLFLOW_PORT=five: Input should be a valid integer"),
        ("CHURN_FIRST_MONTH", "2024-13", "CHURN_FIRST_MONTH=2024-13: '2024-13' is not a month"),
        ("CHURN_LAST_MONTH", "2023-01", "CHURN_LAST_MONTH (2023-01) lies before CHURN_FIRST_MONTH"),
        ("CHURN_N_JOBS", "0", "CHURN_N_JOBS=0: Input should be greater than or equal to 1"),
        (
            "CHURN_LOOK_SECONDS",
            "1",
            "CHURN_LOOK_SECONDS=1: Input should be greater than or equal to 5",
        ),
        ("CHURN_CAMPAIGN_BUDGET", "-1", "CHURN_CAMPAIGN_BUDGET=-1: Input should be greater"),
        ("CHURN_GATE_CONFIDENCE", "2", "CHURN_GATE_CONFIDENCE=2: Input should be less than 1"),
    ],
)
@pytest.mark.parametrize("command", ["up", "predict me"])
def test_a_wrong_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str, command: str
) -> None:
    monkeypatch.setenv(name, value)
    words = told(churn(*command.split()))
    assert message in words
    assert "correct or unset the variable" in words


def test_a_state_folder_that_is_a_file(home: Path) -> None:
    home.write_text("")
    for command in ("status", "up", "down", "ledger"):
        assert "set CHURN_HOME to a folder" in told(churn(command))


def test_what_nobody_foresaw_is_one_sentence_and_a_log(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise LookupError("deep inside\nand more")

    monkeypatch.setattr("churn.cli.progress.running", fail)
    words = told(churn("ledger"))
    assert words.startswith("unexpected: LookupError: deep inside\n  -> the details are in")
    log = (home / "logs" / "errors.log").read_text()
    assert "Traceback" in log
    assert Path(ledger.__file__).name in log
    monkeypatch.setenv("CHURN_DEBUG", "1")
    assert isinstance(churn("ledger").exception, LookupError)
    monkeypatch.delenv("CHURN_DEBUG")
    (home / "settings.env").write_text("CHURN_DEBUG='1'\n")
    assert isinstance(churn("ledger").exception, LookupError)


def test_status_shows_the_parts_before_the_databases_of_the_months_are_there(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [PartHealth("postgres", "healthy"), PartHealth("api", "stopped")]
    monkeypatch.setattr("churn.stack.health.status", lambda: answers)
    monkeypatch.setenv("POSTGRES_DB", "not_made_yet")
    answer = churn("status")
    assert answer.exit_code == 1
    assert [line.split()[:2] for line in answer.stdout.splitlines()[1:]] == [
        ["postgres", "healthy"],
        ["api", "stopped"],
    ]
    assert answer.stderr == ""


def test_wrong_usage_is_still_told_by_its_command() -> None:
    answer = churn("train")
    assert answer.exit_code == 2
    assert "--month" in answer.stderr


def test_something_else_on_the_port_of_the_api(monkeypatch: pytest.MonkeyPatch) -> None:
    class Page(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("CHURN_API_URL", f"http://127.0.0.1:{server.server_port}")
        assert "something else than the API answers there" in told(churn("predict", "me"))
        server.shutdown()
    monkeypatch.setenv("CHURN_API_URL", "http://127.0.0.1:99999")
    assert "the API does not answer" in told(churn("predict", "me"))
