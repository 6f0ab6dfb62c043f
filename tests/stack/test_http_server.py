"""The one way in which our applications are served: a process of its own, and its log as the settings say."""

import json
import os
import signal
import subprocess
from pathlib import Path

import httpx
import pytest

from churn.stack.parts import http_command
from churn.stack.processes import free_port
from tests.kit.servers import answers
from tests.kit.waiting import until


def log_of_a_server(folder: Path, **variables: str) -> tuple[httpx.Response, list[str]]:
    """Serve the console, which needs no Postgres to live; return an answer, and what it logged."""
    port = free_port()
    command = http_command("console.main:app", "127.0.0.1", port)
    told = {**os.environ, "CHURN_HOME": str(folder), "POSTGRES_PORT": str(free_port()), **variables}
    url = f"http://127.0.0.1:{port}"
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=told)
    try:
        until(lambda: server.poll() is not None or answers(f"{url}/health/live"))
        answer = httpx.get(f"{url}/nowhere/7590-VHVEG", headers={"X-Request-ID": "r-1"})
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(300)
    return answer, (folder / "log").read_text().splitlines()


def test_json_is_every_line_uvicorn_s_too_with_one_for_each_request(tmp_path: Path) -> None:
    answer, lines = log_of_a_server(tmp_path, CHURN_LOG_FORMAT="json")
    assert answer.headers["x-request-id"] == "r-1"
    assert "nosniff" in answer.headers["x-content-type-options"]
    assert "server" not in answer.headers
    read = [json.loads(line) for line in lines]
    assert {"Application startup complete.", "Application shutdown complete."} <= {
        each["message"] for each in read
    }
    [request] = [each for each in read if each.get("request_id") == "r-1"]
    assert (request["method"], request["status"]) == ("GET", answer.status_code)
    assert "7590-VHVEG" not in "".join(lines)


@pytest.mark.parametrize("log_format", ["", "text"])
def test_text_is_for_people(tmp_path: Path, log_format: str) -> None:
    _, lines = log_of_a_server(tmp_path, CHURN_LOG_FORMAT=log_format)
    assert any(line.endswith("INFO: Application startup complete.") for line in lines)
    assert not [line for line in lines if "r-1" in line]
