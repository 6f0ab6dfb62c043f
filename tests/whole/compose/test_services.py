import csv
import json
import time
import urllib.error
import urllib.request
from typing import Any

import psycopg
import pytest

from tests.kit.compose_files import API_KEY, API_SECRET, PASSWORDS, SECRET
from tests.kit.compose_stack import Stack

WATCHED = ("postgres", "mlflow", "code", "webserver", "daemon", "api", "console")


LISTENING = {"webserver": 3000, "mlflow": 5000, "api": 8000, "console": 8080}
BY_KEY = {"Authorization": f"Bearer {API_KEY}"}


def url(stack: Stack, service: str, path: str) -> str:
    return f"http://127.0.0.1:{stack.world.port(service, LISTENING[service])}{path}"


def ask(address: str, body: Any = None, **headers: str) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} | headers
    request = urllib.request.Request(address, data=data, headers=headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310
        text = answer.read()
    return json.loads(text) if text.startswith((b"{", b"[")) else text.decode()


def graphql(stack: Stack, query: str) -> Any:
    return ask(url(stack, "webserver", "/graphql"), {"query": query})["data"]


def test_no_health_check_passes_before_its_service_runs(stack: Stack) -> None:
    assert stack.before == dict.fromkeys(WATCHED, False)


def test_every_service_becomes_healthy_in_order(stack: Stack) -> None:
    assert set(stack.settled) == {*WATCHED, "init"}
    order = sorted(stack.settled, key=lambda name: stack.settled[name])
    assert order[:2] == ["postgres", "init"]
    assert order.index("mlflow") < min(order.index("code"), order.index("api"))
    assert order.index("code") < min(order.index("webserver"), order.index("daemon"))


def test_ui_has_the_code_and_a_live_daemon(stack: Stack) -> None:
    answer = graphql(
        stack,
        """{workspaceOrError {... on Workspace {locationEntries {
             name locationOrLoadError {__typename}}}}
           assetNodes {id}
           instance {daemonHealth {allDaemonStatuses {daemonType required healthy}}}}""",
    )
    [location] = answer["workspaceOrError"]["locationEntries"]
    assert location["name"] == "churn"
    assert location["locationOrLoadError"]["__typename"] == "RepositoryLocation"
    assert len(answer["assetNodes"]) > 15
    daemons = answer["instance"]["daemonHealth"]["allDaemonStatuses"]
    assert all(one["healthy"] for one in daemons if one["required"])


SEARCH = "/api/2.0/mlflow/experiments/search?max_results=1"


@pytest.mark.parametrize("host", ["mlflow:5000", "localhost:5000"])
def test_mlflow_answers_to_its_own_names(stack: Stack, host: str) -> None:
    assert ask(url(stack, "mlflow", SEARCH), Host=host)["experiments"]


def test_mlflow_refuses_other_names(stack: Stack) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(url(stack, "mlflow", SEARCH), Host="evil.example")
    assert refused.value.code == 403


def test_webserver_and_api_refuse_other_names_and_other_pages(stack: Stack) -> None:
    order = {"query": 'mutation {setConcurrencyLimit(concurrencyKey: "evil", limit: 1)}'}
    for service, path, body in (
        ("webserver", "/graphql", order),
        ("api", "/predict", {"user_id": "a"}),
    ):
        for headers, status in (
            ({"Host": "evil.example"}, 421),
            ({"Origin": "http://evil.example"}, 403),
        ):
            with pytest.raises(urllib.error.HTTPError) as refused:
                ask(url(stack, service, path), body, **headers)
            assert refused.value.code == status
    assert ask(url(stack, "api", "/health/live"), Host="api:8000") == {"live": True}
    assert ask(url(stack, "webserver", "/server_info"), Host="webserver:3000")
    [limits] = graphql(stack, "{instance {concurrencyLimits {concurrencyKey}}}").values()
    assert "evil" not in str(limits)


def test_artifacts_go_through_the_server_into_its_volume(stack: Stack) -> None:
    address = url(stack, "mlflow", "/api/2.0/mlflow-artifacts/artifacts/probe/note.txt")
    request = urllib.request.Request(address, data=b"kept", method="PUT")  # noqa: S310
    with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310
        assert answer.status == 200
    [note] = (stack.world.folder / "volumes" / "artifacts").rglob("note.txt")
    assert note.read_text() == "kept"


def test_new_server_is_live_and_not_ready(stack: Stack) -> None:
    ask(url(stack, "api", "/health/live"))
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(url(stack, "api", "/health/ready"))
    assert refused.value.code == 503


def test_drop_in_the_folder_is_published(stack: Stack) -> None:
    """Sensor, queue, launcher, code server, volumes and API: each with what the file gives it."""
    query = """{runsOrError(filter: {pipelineName: "month_close"}) {... on Runs {results {
                  runId status tags {key value} stats {... on RunStatsSnapshot {stepsSucceeded}}}}}}"""
    deadline = time.monotonic() + 1800
    runs: list[Any] = []
    while not runs or runs[0]["status"] not in ("SUCCESS", "FAILURE"):
        assert time.monotonic() < deadline, f"{runs}\n{stack['daemon'].tail()}"
        time.sleep(1)
        runs = graphql(stack, query)["runsOrError"]["results"]
    assert runs[0]["status"] == "SUCCESS", stack["code"].tail()
    assert {"key": "dagster/partition", "value": "2024-01-01"} in runs[0]["tags"]
    [row, *_] = csv.DictReader((stack.world.folder / "drops/month_000/users.csv").open())
    address = url(stack, "api", f"/features/{row['user_id']}")
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(address)
    assert refused.value.code == 401
    features = ask(address, **BY_KEY)
    assert features["as_of"].startswith("2024-01-31")
    assert row["user_id"] not in stack["api"].log.read_text(errors="replace")
    volumes = stack.world.folder / "volumes"
    assert list((volumes / "state" / "lake").rglob("*.parquet"))
    assert list((volumes / "logs").rglob("*.err"))


def test_nothing_is_written_outside_of_the_volumes(stack: Stack) -> None:
    for name, container in stack.containers.items():
        assert container.files() - container.image_files == set(), name


def test_password_is_on_no_command_line_and_in_no_log(stack: Stack) -> None:
    for container in stack.containers.values():
        for secret in PASSWORDS.values():
            assert secret not in " ".join(container.command(container.spec["command"]))
            assert secret not in container.log.read_text(errors="replace")


def test_api_connects_as_a_role_that_reads_what_it_serves(stack: Stack) -> None:
    where = {"host": "127.0.0.1", "port": stack.world.port("postgres", 5432)}
    query = (
        "SELECT usename, count(*) > 0 FROM pg_stat_activity WHERE datname = 'streamflow'"
        # What the health page asks last, and nobody else asks.
        " AND query LIKE '%FROM online.release_in_force%' AND pid <> pg_backend_pid() GROUP BY usename"
    )
    with psycopg.connect(
        **where, dbname="postgres", user="streamflow", password=SECRET
    ) as connection:
        ask(url(stack, "api", "/health"), **BY_KEY)
        assert connection.execute(query).fetchall() == [("churn_api", True)]
    login = {"user": "churn_api", "password": API_SECRET}
    with psycopg.connect(**where, **login, dbname="streamflow", autocommit=True) as connection:
        assert connection.execute("SELECT count(*) FROM online.users").fetchone() == (200,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT * FROM raw.users")
    for database in ("dagster", "mlflow"):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(**where, **login, dbname=database)


def test_stopped_services_end_and_are_unhealthy(stack: Stack) -> None:
    others = [stack[name] for name in WATCHED if name != "postgres"]
    for container in others:
        container.ask_to_stop()
    assert [container.name for container in others if not container.ends()] == []
    with psycopg.connect(
        host="127.0.0.1", port=stack.world.port("postgres", 5432), dbname="dagster",
        user="streamflow", password=SECRET,
    ) as connection:  # fmt: skip
        # The patience of two minutes and the half minute between two reports pass: the last grows old.
        connection.execute(
            "UPDATE daemon_heartbeats SET body = jsonb_set(body::jsonb, '{timestamp}',"
            " to_jsonb((body::jsonb->>'timestamp')::float - 155))::text"
        )
    assert stack.health() == {name: name == "postgres" for name in WATCHED}
    stack["postgres"].ask_to_stop()
    assert stack["postgres"].ends()
    assert not stack["postgres"].healthy()
