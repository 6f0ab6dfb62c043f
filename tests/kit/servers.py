"""Servers that tests start: real ones, on free ports, ended with their whole process group."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from churn.stack.parts import GUNICORN
from churn.stack.processes import free_port


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """Run an MLflow server as `churn up` does, on a folder's `mlflow.db`; yields its address."""
    port = free_port()
    command = [sys.executable, "-m", "churn.stack.mlflow_server", f"--bind=127.0.0.1:{port}"]
    command += ["--workers=1", *GUNICORN.split()]
    environment = {
        **os.environ,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{folder}/mlflow.db",
        "MLFLOW_ARTIFACTS_DESTINATION": str(folder / "artifacts"),
    }
    environment.pop("COVERAGE_PROCESS_CONFIG", None)  # its lines are nobody's coverage
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, env=environment, start_new_session=True
        )
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 600
    try:
        while not answers(f"{url}/health"):
            assert server.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.1)
        yield url
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(300)


def answers(url: str) -> bool:
    """Say whether a server on the loopback answers; no certificates are read for it, which takes long."""
    try:
        return httpx.get(url, timeout=30, verify=url.startswith("https")).is_success
    except httpx.HTTPError:
        return False


@contextmanager
def served(app: Any) -> Iterator[str]:
    """Serve an ASGI application from a thread, by the server that the stack runs; yields its address."""
    port = free_port()
    config = uvicorn.Config(app, port=port, http="httptools", access_log=False, log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


@dataclass
class Relay:
    """A way to a server on the loopback that drops as many connections as it is told to.

    `drop` counts down; each dropped connection is closed once something has been asked on it, as a server
    does that ends just then: "disconnected without sending a response".
    """

    to_port: int
    drop: int = 0
    accepted: int = 0
    _clients: list[socket.socket] = field(default_factory=list)
    _listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def __enter__(self) -> "Relay":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def cut(self) -> None:
        """End the connections that are open, as a server does that is restarted."""
        for client in self._clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                self.accepted += 1
                if self.drop:
                    self.drop -= 1
                    client.recv(65536)
                    client.close()
                    continue
                self._clients.append(client)
                server = socket.create_connection(("127.0.0.1", self.to_port))
                for one, other in ((client, server), (server, client)):
                    threading.Thread(target=_pass_on, args=(one, other), daemon=True).start()


def _pass_on(one: socket.socket, other: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
    for each in (one, other):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()
