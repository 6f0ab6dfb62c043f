"""A month fails, and somebody is told: a real exporter, a real Prometheus, a real Alertmanager, a receiver.

The failure is written into the records by `keep_months_behind`, with which the sensor writes what it has
found; no run is made to fail for it. Rules and routes are those of monitoring/; intervals, ports and the
receiver's address are the test's.
"""

import contextlib
import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from churn.schedule.sentences import keep_months_behind
from churn.stack.parts import http_command
from churn.stack.processes import free_port
from tests.kit.exporter_world import as_exporter, keep_failure
from tests.kit.prometheus_tools import MONITORING, program
from tests.kit.servers import answers
from tests.kit.small_drop import JANUARY
from tests.kit.waiting import until

pytestmark = pytest.mark.services
SHORT = "1s"
FAILED = {"alertname": "MonthGivenUp", "month": str(JANUARY), "stage": "month_close"}


@dataclass
class Receiver:
    """A webhook on the loopback, and what has come there: receiver's name and the message."""

    url: str = ""
    came: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def has(self, status: str, receiver: str, **labels: str) -> bool:
        """Say whether a receiver was told of an alert of these labels, in this status."""
        return any(
            name == receiver
            and alert["status"] == status
            and labels.items() <= alert["labels"].items()
            for name, message in self.came
            for alert in message["alerts"]
        )


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.came.append((self.path.strip("/"), json.loads(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield receiver
    server.shutdown()
    thread.join()
    server.server_close()


@contextlib.contextmanager
def running(log: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=os.environ)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def await_answer(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Wait until a server answers that must not end before."""

    def is_up() -> bool:
        assert process.poll() is None, log.read_text()
        return answers(url)

    until(is_up)


def alertmanager_config(receiver: Receiver) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((MONITORING / "alertmanager.yml").read_text())
    config["route"] |= dict.fromkeys(("group_wait", "group_interval"), SHORT)
    for each in config["receivers"]:
        assert each.keys() == {"name"}  # who is told is the operator's to say
        each["webhook_configs"] = [{"url": f"{receiver.url}/{each['name']}", "send_resolved": True}]
    return config


def prometheus_config(exporter_port: int, alertmanager_port: int) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    config["global"] |= {"scrape_interval": SHORT, "evaluation_interval": SHORT}
    config["rule_files"] = [str(MONITORING / "alerts.yml")]
    config["alerting"]["alertmanagers"][0]["static_configs"] = [
        {"targets": [f"127.0.0.1:{alertmanager_port}"]}
    ]
    [pipeline] = [job for job in config["scrape_configs"] if job["job_name"] == "churn-pipeline"]
    pipeline["static_configs"] = [{"targets": [f"127.0.0.1:{exporter_port}"]}]
    config["scrape_configs"] = [pipeline]
    return config


@pytest.fixture
def prometheus(world: object, receiver: Receiver, tmp_path: Path) -> Iterator[str]:
    """Start exporter, Alertmanager and Prometheus; yields Prometheus's address."""
    prometheus, alertmanager = (
        program("prometheus"),
        program("prometheus-alertmanager", "alertmanager"),
    )
    keep_months_behind([])  # nothing is behind, to begin with
    ports = [free_port() for _ in range(3)]
    configs = (alertmanager_config(receiver), prometheus_config(ports[0], ports[1]))
    files = [tmp_path / "alertmanager.yml", tmp_path / "prometheus.yml"]
    for file, config in zip(files, configs, strict=True):
        file.write_text(yaml.safe_dump(config))
    commands = [
        http_command("churn.exporter.app:app", "127.0.0.1", ports[0]),
        [
            alertmanager,
            f"--config.file={files[0]}",
            f"--storage.path={tmp_path / 'alertmanager'}",
            f"--web.listen-address=127.0.0.1:{ports[1]}",
            "--cluster.listen-address=",
        ],
        [
            prometheus,
            f"--config.file={files[1]}",
            f"--storage.tsdb.path={tmp_path / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{ports[2]}",
        ],
    ]
    paths = ("healthy", "-/healthy", "-/ready")
    with contextlib.ExitStack() as at_end:
        for command, port, path in zip(commands, ports, paths, strict=True):
            log = tmp_path / f"{port}.log"
            with as_exporter():
                process = at_end.enter_context(running(log, *command))
            await_answer(process, f"http://127.0.0.1:{port}/{path}", log)
        yield f"http://127.0.0.1:{ports[2]}"


def query(prometheus: str, expression: str) -> list[dict[str, Any]]:
    answer = httpx.get(f"{prometheus}/api/v1/query", params={"query": expression}, timeout=60)
    result: list[dict[str, Any]] = answer.raise_for_status().json()["data"]["result"]
    return result


def test_a_month_that_failed_is_told_to_the_receiver_and_so_is_its_healing(
    prometheus: str, receiver: Receiver
) -> None:
    until(lambda: query(prometheus, "churn_pipeline_up == 1"))
    behind = "churn_month_behind_since_timestamp_seconds"
    until(lambda: query(prometheus, "churn_look_timestamp_seconds"))
    assert query(prometheus, behind) == []
    assert not receiver.has("firing", "at-once", **FAILED)

    keep_failure("month_close", JANUARY)
    until(lambda: receiver.has("firing", "at-once", **FAILED))
    [told] = [
        alert
        for _, message in receiver.came
        for alert in message["alerts"]
        if alert["status"] == "firing" and FAILED.items() <= alert["labels"].items()
    ][:1]
    assert told["annotations"]["runbook"] == "docs/runbook.md#a-month-fails"
    assert told["annotations"]["summary"].startswith(f"month_close of {JANUARY} failed for good")

    keep_months_behind([])
    until(lambda: receiver.has("resolved", "at-once", **FAILED))
    assert query(prometheus, behind) == []
