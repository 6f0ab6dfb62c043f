import os
import sys
from pathlib import Path

import pytest

from churn.settings import Settings
from churn.stack.health import status
from churn.stack.parts import METRICS, PARTS, make_plan
from churn.stack.processes import Part, silent, spawn
from churn.stack.record import PartRecord, StackRecord
from churn.stack.supervisor import Stack, take_down
from tests.kit.commands import OURS


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith(OURS)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CHURN_HOME", str(tmp_path))
    return tmp_path


def test_defaults_are_the_contract(home: Path) -> None:
    plan = make_plan(StackRecord())
    ports = {"webserver": 3000, "mlflow": 5000, "api": 8000, "console": 8080}
    assert {name: plan.parts[name].port for name in ports} == ports
    variables = ("DAGSTER_PORT", "MLFLOW_PORT", "API_PORT", "CONSOLE_PORT")
    assert [plan.environment[name] for name in variables] == ["3000", "5000", "8000", "8080"]
    assert plan.environment["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:5000"
    assert plan.environment["POSTGRES_USER"] == plan.environment["POSTGRES_DB"] == "streamflow"
    assert plan.environment["DAGSTER_HOME"] == str(home / "dagster")
    assert set(PARTS) < plan.parts.keys()


def login_of(name: str) -> dict[str, str]:
    return dict(make_plan(StackRecord()).parts[name].environment)


def test_the_api_comes_as_its_own_role(home: Path) -> None:
    plan = make_plan(StackRecord())
    login = login_of("api")
    assert login["POSTGRES_USER"] == "churn_api"
    assert login["POSTGRES_PASSWORD"] == plan.environment["API_POSTGRES_PASSWORD"]
    assert login["POSTGRES_PASSWORD"] != plan.environment["POSTGRES_PASSWORD"]


def test_the_console_comes_as_its_own_role(home: Path) -> None:
    told = make_plan(StackRecord()).environment
    assert login_of("console") == {
        "POSTGRES_USER": "churn_console",
        "POSTGRES_PASSWORD": told["CONSOLE_POSTGRES_PASSWORD"],
    }
    assert len({told[f"{part}POSTGRES_PASSWORD"] for part in ("", "API_", "CONSOLE_")}) == 3


def test_the_api_of_another_postgres_comes_as_told(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTGRES_HOST", "db.example")
    assert login_of("api") == {}
    monkeypatch.setenv("API_POSTGRES_PASSWORD", "secret")
    login = {"POSTGRES_USER": "churn_api", "POSTGRES_PASSWORD": "secret"}
    assert login_of("api") == login
    monkeypatch.setenv("API_POSTGRES_USER", "reader")
    assert login_of("api") == login | {"POSTGRES_USER": "reader"}


def test_metrics_are_served_where_a_port_is_set_for_them(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert METRICS not in make_plan(StackRecord()).parts
    monkeypatch.setenv("METRICS_PORT", "9109")
    plan = make_plan(StackRecord())
    part = plan.parts[METRICS]
    assert (part.port, part.after) == (9109, ("init",))
    assert part.environment["POSTGRES_USER"] == "churn_metrics"
    password = part.environment["POSTGRES_PASSWORD"]
    assert password == plan.environment["METRICS_POSTGRES_PASSWORD"]
    assert password not in {
        plan.environment["POSTGRES_PASSWORD"],
        plan.environment["API_POSTGRES_PASSWORD"],
    }
    monkeypatch.delenv("METRICS_PORT")
    running = StackRecord(parts={METRICS: PartRecord(pid=1, port=9110, started=0)})
    assert make_plan(running).parts[METRICS].port == 9110  # it keeps its place


def test_every_process_is_told_of_the_oracle(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert make_plan(StackRecord()).environment["CHURN_ORACLE"] == ""
    monkeypatch.setenv("CHURN_ORACLE", str(home / "oracle"))
    assert make_plan(StackRecord()).environment["CHURN_ORACLE"] == str(home / "oracle")


def test_what_runs_keeps_its_place(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_PORT", "9000")
    part = PartRecord(pid=1, port=8123, started=0)
    plan = make_plan(StackRecord(parts={"api": part, "postgres": part}))
    assert plan.parts["api"].port == 8123
    assert plan.environment["POSTGRES_PORT"] == "8123"


@pytest.mark.parametrize("name", ["code", "mlflow"])
def test_a_part_is_dead_though_what_it_started_lives(home: Path, name: str) -> None:
    server = spawn(Part(name, lambda: [sys.executable, "-c", ""]), home, {})
    server.wait()
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    worker = spawn(Part(name, lambda: sleep), home, {})
    left_alone = spawn(Part("api", lambda: sleep), home, {})
    try:
        parts = {
            name: PartRecord(pid=server.pid, port=8123, started=0),
            "postgres": PartRecord(pid=server.pid, port=8124, started=0),
            "api": PartRecord(pid=left_alone.pid, port=8125, started=0),
        }
        StackRecord(parts=parts).write(home, {})
        stack = Stack(home)
        assert stack.alive == {"api"}
        assert [p.name for p in stack.missing(("postgres", name))][-1] == name
        assert stack.fallen.keys() == {name, "postgres"}
        assert stack.record.parts == parts  # each comes back where it was
        stack._clear_remains([name, "postgres"])
        assert (worker.poll() is None) == (name == "code")  # its run may come to its end
    finally:
        take_down(home, [name, "api"], silent)
    assert not (home / "stack.json").exists()


def test_a_part_brings_what_it_needs(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> list[str]:
        return [part.name for part in Stack(home).missing(("api",))]

    assert missing() == ["postgres", "init", "api"]
    monkeypatch.setenv("POSTGRES_HOST", "db.example")
    assert missing() == ["init", "api"]  # a server of somebody else's is no part of ours


def test_another_postgres(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_HOST", "db.example")
    monkeypatch.setenv("POSTGRES_PASSWORD", "secret")
    plan = make_plan(StackRecord())
    assert plan.environment["POSTGRES_HOST"] == "db.example"
    assert plan.environment["PGSSLMODE"] == "prefer"
    assert "postgres" not in plan.parts


@pytest.mark.parametrize(
    ("uri", "ours"),
    [
        ("http://127.0.0.1:5000", True),
        ("http://localhost:5000/", True),
        ("http://127.0.0.1:5001", False),
        ("https://mlflow.example", False),
    ],
)
def test_another_mlflow(home: Path, monkeypatch: pytest.MonkeyPatch, uri: str, ours: bool) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    plan = make_plan(StackRecord())
    assert ("mlflow" in plan.parts) is ours
    if not ours:
        assert plan.environment["MLFLOW_TRACKING_URI"] == uri


def test_stack_env_is_read_back_as_it_was(home: Path) -> None:
    password = 'it\'s \\ a "pass" # word'
    record = StackRecord(parts={"api": PartRecord(pid=1, started=0)})
    record.write(home, {"POSTGRES_PASSWORD": password, "CHURN_FIRST_MONTH": "2023-05"})
    read = Settings(_env_file=home / "stack.env")
    assert read.postgres_password.get_secret_value() == password
    assert str(read.first_month) == "2023-05"
    StackRecord().write(home)
    assert not (home / "stack.env").exists()


def test_status_asks_a_server_that_is_not_ours(settings: Settings) -> None:
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    spawn(Part("api", lambda: sleep), settings.home, {})
    try:
        parts = {part.name: part for part in status()}
    finally:
        take_down(settings.home, ["api"], silent)
    assert parts["postgres"].health == "healthy"
    assert parts["postgres"].url == f"127.0.0.1:{settings.postgres_port}"
    assert parts["postgres"].pid is None
    assert "was killed" in parts["api"].problem
    assert parts["webserver"].health == "stopped"
