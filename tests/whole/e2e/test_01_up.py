"""`churn up` before any drop: whole, closed to others, clear about what is there, back when it was killed."""

import contextlib
import json
import os
import re
import signal
import stat
import sys
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from churn.stack.health import status
from churn.stack.parts import PARTS
from churn.stack.processes import Part, living, spawn
from churn.stack.supervisor import running_stack
from tests.kit.commands import churn, environment
from tests.kit.running_system import System
from tests.kit.waiting import until
from tests.whole.e2e.conftest import Up

Told = dict[str, str]


@pytest.fixture
def told(system: System) -> Told:
    return system.told


@pytest.fixture
def home(system: System) -> Path:
    return system.home


def parts_of(told: Told) -> dict[str, dict[str, Any]]:
    answer = json.loads(churn(told, "status", "--json").stdout)
    return {part["name"]: part for part in answer["parts"]}


def test_up_starts(up: Up) -> None:
    assert up.first.returncode == 0, up.first.stderr  # how long it takes is the bench's to say


def test_every_part_is_healthy_and_its_page_opens(told: Told) -> None:
    parts = parts_of(told)
    assert {name: part["health"] for name, part in parts.items()} == dict.fromkeys(PARTS, "healthy")
    for name in ("mlflow", "api", "console", "webserver"):
        assert httpx.get(parts[name]["url"], follow_redirects=True).status_code == 200
    assert parts["webserver"]["port"] == int(told["DAGSTER_PORT"])
    assert parts["mlflow"]["port"] == int(told["MLFLOW_PORT"])


def test_only_the_loopback_is_served(home: Path) -> None:
    pids = {process.pid for family in living(home).values() for process in family}
    listening = [
        connection.laddr.ip
        for connection in psutil.net_connections("tcp")
        if connection.pid in pids and connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= len(PARTS) - 1
    assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}


def test_mlflow_refuses_other_names_and_keeps_artifacts(told: Told, home: Path) -> None:
    asked = f"http://127.0.0.1:{told['MLFLOW_PORT']}/api/2.0/mlflow/experiments/search"
    assert httpx.get(asked, params={"max_results": 1}).json()["experiments"]
    refused = httpx.get(asked, params={"max_results": 1}, headers={"Host": "evil.example"})
    assert refused.status_code == 403
    note = f"http://127.0.0.1:{told['MLFLOW_PORT']}/api/2.0/mlflow-artifacts/artifacts/probe/note"
    assert httpx.put(note, content=b"kept").status_code == 200
    assert (home / "mlflow" / "probe" / "note").read_bytes() == b"kept"


def test_other_pages_give_no_orders(told: Told) -> None:
    """Dagster's own command would obey each of these; MLflow's middleware looks at the origin, too."""
    dagster, mlflow, api, console = (
        f"http://127.0.0.1:{told[name]}"
        for name in ("DAGSTER_PORT", "MLFLOW_PORT", "API_PORT", "CONSOLE_PORT")
    )
    order = 'mutation {shutdownRepositoryLocation(repositoryLocationName: "churn") {__typename}}'
    evil = {"Origin": "http://evil.example"}
    picture = {"Accept": "image/avif,image/webp,*/*"}
    assert (
        httpx.get(f"{dagster}/graphql", params={"query": order}, headers=picture).status_code == 405
    )
    for base, path, body in (
        (console, "/sign-in", {"person": "a"}),
        (dagster, "/graphql", {"query": order}),
        (mlflow, "/api/2.0/mlflow/experiments/create", {"name": "evil"}),
        (mlflow, "/ajax-api/2.0/mlflow/experiments/create", {"name": "evil"}),
        (api, "/predict", {"user_id": "a"}),
    ):
        assert httpx.post(f"{base}{path}", json=body, headers=evil).status_code == 403
        other_name = httpx.post(f"{base}{path}", json=body, headers={"Host": "evil.example"})
        assert other_name.status_code in {403, 421}
    assert parts_of(told)["code"]["health"] == "healthy"
    assert httpx.get(dagster).headers["x-frame-options"] == "SAMEORIGIN"
    assert httpx.get(f"{api}/health/live").headers["x-content-type-options"] == "nosniff"


def test_all_that_was_written_is_its_owners_alone(home: Path) -> None:
    passage = {home, home / "postgres"} if os.geteuid() == 0 else set()
    open_to_others = [
        path
        for path in (home, *home.rglob("*"))
        if not path.is_symlink() and path not in passage and path.stat().st_mode & 0o077
    ]
    assert open_to_others == []


def test_no_secret_is_on_a_command_line_or_open_to_others(home: Path) -> None:
    names = ("password", "api_password", "console_password", "metrics_password")
    secrets = [home / "postgres" / name for name in names]
    for process in (p for family in living(home).values() for p in family):
        with contextlib.suppress(psutil.NoSuchProcess):  # Postgres' own workers come and go
            line = " ".join(process.cmdline())
            assert all(secret.read_text() not in line for secret in secrets)
    for log in (home / "logs").iterdir():
        text = log.read_text(errors="replace")
        assert all(secret.read_text() not in text for secret in secrets)
    for path in (home / "stack.env", home / "stack.json", *secrets):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_api_knows_its_own_password_alone(told: Told, home: Path) -> None:
    owners, apis = ((home / "postgres" / name).read_text() for name in ("password", "api_password"))
    (api,) = living(home)["api"]
    assert api.environ()["POSTGRES_USER"] == "churn_api"
    assert api.environ()["POSTGRES_PASSWORD"] == apis
    assert owners not in api.environ().values()
    answer = httpx.get(f"http://127.0.0.1:{told['API_PORT']}/health").json()
    assert answer["store"]["problem"] == "no month has been published yet"  # it could ask


def test_the_console_knows_its_own_password_alone_and_opens_by_the_link(
    told: Told, home: Path
) -> None:
    (console,) = living(home)["console"]
    assert console.environ()["POSTGRES_USER"] == "churn_console"
    owners = (home / "postgres" / "password").read_text()
    assert owners not in console.environ().values()
    link = churn(told, "console").stdout.strip()
    assert link.startswith(f"http://127.0.0.1:{told['CONSOLE_PORT']}/sign-in?token=")
    with httpx.Client(follow_redirects=True, timeout=60) as browser:
        # Opening it signs nobody in, since programs open links, too: its button does.
        opened = browser.get(link)
        fields = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', opened.text)
        page = browser.post(str(opened.url.copy_with(query=None)), data=dict(fields))
    assert page.status_code == 200
    assert str(page.url) == f"http://127.0.0.1:{told['CONSOLE_PORT']}/"
    assert "Sign out" in page.text


def test_a_second_up_says_what_runs(told: Told) -> None:
    before = parts_of(told)
    again = churn(told, "up")
    assert again.returncode == 0
    assert "everything is running already" in again.stderr
    assert told["DAGSTER_PORT"] in again.stdout
    assert parts_of(told) == before


def test_another_stack_is_told_who_has_its_port(system: System) -> None:
    other = System(environment(system.home.with_name("other"), API_PORT=system.told["API_PORT"]))
    refused = other.churn("up")
    assert refused.returncode == 1
    assert f"port {system.told['API_PORT']} of api (API_PORT) is taken" in refused.stderr
    assert f"part of the stack in {system.home}" in refused.stderr
    assert "API_PORT=" in refused.stderr.split("->")[1]
    assert not other.leftovers()


def test_work_beside_the_stack_starts_and_stops_nothing(
    told: Told, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    for name in ("POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_USER", "POSTGRES_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    before = {name: part.pid for name, part in zip(PARTS, status(), strict=True)}
    with running_stack(("mlflow",)) as stack:
        assert stack.environment["DAGSTER_HOME"] == str(home / "dagster")
    assert {name: part.pid for name, part in zip(PARTS, status(), strict=True)} == before


def test_a_killed_part_is_seen_and_comes_back(told: Told, home: Path) -> None:
    before = parts_of(told)
    for process in living(home)["api"]:
        process.send_signal(signal.SIGKILL)
    until(lambda: "api" not in living(home))
    seen = churn(told, "status")
    assert seen.returncode == 1
    assert "stopped" in seen.stdout
    again = churn(told, "up")
    assert again.returncode == 0, again.stderr
    assert "api ready" in again.stderr
    assert "init" not in again.stderr
    after = parts_of(told)
    assert after["api"]["pid"] != before["api"]["pid"]
    assert {n: p for n, p in after.items() if n != "api"} == {
        n: p for n, p in before.items() if n != "api"
    }


def kill(part: dict[str, Any]) -> None:
    process = psutil.Process(part["pid"])
    process.kill()
    process.wait(20)


def test_a_killed_postgres_comes_back_where_it_was_by_whatever_command_needs_it(
    told: Told, home: Path
) -> None:
    before = parts_of(told)
    kill(before["postgres"])
    seen = parts_of(told)
    assert seen["postgres"]["health"] == "stopped"
    assert "`churn up` starts it again" in seen["postgres"]["problem"]
    assert seen["mlflow"]["health"] == "unhealthy"
    assert "does not reach its database" in seen["mlflow"]["problem"]
    ledger = churn(told, "ledger")
    assert ledger.returncode == 0, ledger.stderr
    assert "postgres ready" in ledger.stderr
    assert "stopped" not in ledger.stderr
    until(lambda: parts_of(told)["mlflow"]["health"] == "healthy")
    after = parts_of(told)
    assert after["postgres"]["pid"] != before["postgres"]["pid"]
    assert {n: p["port"] for n, p in after.items()} == {n: p["port"] for n, p in before.items()}
    again = churn(told, "up")
    assert again.returncode == 0, again.stderr
    assert "everything is running already" in again.stderr
    assert "store" in httpx.get(f"http://127.0.0.1:{told['API_PORT']}/health").json()


def test_a_dead_code_server_comes_back_though_a_run_of_it_lives(told: Told, home: Path) -> None:
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    worker = spawn(Part("code", lambda: sleep), home, {})
    try:
        before = parts_of(told)
        kill(before["code"])
        again = churn(told, "up")
        assert again.returncode == 0, again.stderr
        assert "code ready" in again.stderr
        after = parts_of(told)
        assert after["code"]["pid"] != before["code"]["pid"]
        assert after["code"]["port"] == before["code"]["port"]
        assert worker.poll() is None
    finally:
        worker.kill()
        worker.wait()
